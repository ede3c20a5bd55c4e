# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM under load on its way over six hosts, by operations in a random order."""

from __future__ import annotations

import os
import random

import pytest

from tests.integration.operations import Operation, consolidate, remigrate, split

HOSTS = [f"host-{number}" for number in range(1, 7)]
LENGTH = 6


def itinerary(seed: int) -> list[Operation]:
    """Operations that follow each other, the first one on a VM that is whole on host-1; none changes nothing."""
    chance = random.Random(seed)
    way = [consolidate("host-1")]
    while len(way) <= LENGTH:
        here = way[-1]
        main = chance.choice(HOSTS if here.sub_hosts else [host for host in HOSTS if host != here.main])
        others = [host for host in HOSTS if host != main]
        sub_hosts = chance.sample(others, chance.randint(1, 4))
        limit = chance.randrange(64, 384, 32)
        if not here.sub_hosts:
            way.append(split(main, *sub_hosts, limit=limit))
        elif chance.random() < 0.3:
            way.append(consolidate(main))
        elif (main, set(sub_hosts), limit) != (here.main, set(here.sub_hosts), here.limit):
            way.append(remigrate(main, *sub_hosts, limit=limit))
    return way[1:]


@pytest.mark.nightly
@pytest.mark.timeout(1800, func_only=True)
@pytest.mark.parametrize("seed", range(*map(int, os.environ.get("SMEMV_JOURNEYS", "1:4").split(":"))))
def test_journey(cluster, vm, seed):
    """No page is wrong, and on every host is exactly what the layout needs. More seeds: SMEMV_JOURNEYS=FIRST:END."""
    for operation in itinerary(seed):
        print(operation)
        operation.done(cluster)
