# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The models of two copies and of erasure codes that the benchmark compares."""

from __future__ import annotations

import random

import pytest

from native.bench.erasure.redundancy import DATA, Copies, InPlace, Log, run

PAGES, FRAMES = 400, 200
TRACE = random.Random(1).choices(range(PAGES), k=4000)


@pytest.mark.parametrize("model", [Copies(), InPlace(), Log(1.6)], ids=["copies", "in place", "log"])
def test_what_is_not_local_is_stored(model):
    assert run(model, TRACE, PAGES, FRAMES) > 1000
    assert model.stored == PAGES - FRAMES
    assert model.memory > model.stored


def test_copies_take_three_pages_for_each_page_in():
    model = Copies()
    page_ins = run(model, TRACE, PAGES, FRAMES)
    assert (model.main_link, model.between, model.memory) == (3 * page_ins, 0, 2 * model.stored)


def test_a_group_in_place_has_one_sum_while_it_has_pages():
    model = InPlace()
    for page in (0, 1, DATA):
        model.out(page)
    assert (model.memory, model.between) == (5, 3)
    model.back(0)
    assert (model.memory, model.between) == (4, 4)
    model.back(1)
    assert (model.memory, model.between) == (2, 4)


def test_a_log_keeps_stripes_until_none_of_their_pages_is_used():
    model = Log(most=100)
    for page in range(DATA):
        model.out(page)
    assert (model.memory, model.main_link) == (DATA + 1, DATA + 1)
    for page in range(DATA - 1):
        model.back(page)
    assert model.memory == DATA + 1
    model.back(DATA - 1)
    assert (model.memory, model.stored) == (0, 0)


@pytest.mark.parametrize("most", [1.4, 1.6, 2.0])
def test_a_log_is_cleaned_to_what_it_may_take(most):
    model = Log(most)
    run(model, TRACE, PAGES, FRAMES)
    assert model.memory <= most * model.stored + 2 * (DATA + 1)
    assert model.between > 0
