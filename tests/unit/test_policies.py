# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies that the pager's is compared with."""

from __future__ import annotations

import itertools
import random

import pytest

from native.bench.policy.policies import first_in_first_out, least_recently_used, oracle, staged

# Belady's example: four frames have more misses than three when pages leave in the order in which they came.
ANOMALY = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("frames", "misses"), [(3, 9), (4, 10)])
def test_first_in_first_out_has_its_anomaly(frames, misses):
    assert first_in_first_out(ANOMALY, frames) == misses


@pytest.mark.parametrize(("frames", "least", "recent"), [(3, 7, 10), (4, 6, 8)])
def test_known_misses(frames, least, recent):
    assert oracle(ANOMALY, frames) == least
    assert least_recently_used(ANOMALY, frames) == recent


def test_staging_is_between_the_two():
    trace = random.Random(1).choices(range(40), weights=[40 - page for page in range(40)], k=5000)
    first, recent = first_in_first_out(trace, 20), least_recently_used(trace, 20)
    assert staged(trace, 20, 0) == (first, 0)
    assert staged(trace, 20, 19)[0] <= recent * 1.01
    assert recent < staged(trace, 20, 4)[0] < first


def test_nothing_has_fewer_misses_than_the_oracle():
    chance = random.Random(2)
    for pages, frames in itertools.product((3, 5, 9), (1, 2, 3)):
        trace = [chance.randrange(pages) for _ in range(200)]
        least = oracle(trace, frames)
        assert least <= min(first_in_first_out(trace, frames), least_recently_used(trace, frames))
        assert len(set(trace)) <= least
