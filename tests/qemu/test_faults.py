# SPDX-License-Identifier: GPL-3.0-or-later
"""Page faults that come together: all are served, whatever becomes of one of them."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.qemu.hosts import Hosts, small
from tests.qemu.split import check_sum, run_within, where
from tests.qemu.touch import missing, touch

pytestmark = pytest.mark.qemu


def test_faults_of_many_threads_are_served(hosts: Hosts) -> None:
    place = small()
    _, vm, memservers = hosts.split(place)
    vm.qmp("stop")
    before = where(vm)
    # In no order, or they would be read ahead.
    addresses = missing(vm)[::3]
    random.Random(1).shuffle(addresses)
    with ThreadPoolExecutor(32) as touchers:
        list(touchers.map(lambda address: touch(vm, address), addresses, timeout=60))
    info = where(vm)
    assert info["faults"] - before["faults"] >= len(addresses)
    assert info["pages-in"] - before["pages-in"] > 1000
    check_sum(vm, memservers)
    vm.qmp("cont")
    assert run_within(vm, place.limit, seconds=3)["wrong"] == 0
