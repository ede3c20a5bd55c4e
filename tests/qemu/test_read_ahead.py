# SPDX-License-Identifier: GPL-3.0-or-later
"""Read-ahead: what a guest reads in turn is there before it, and nothing is fetched for one that does not."""

from __future__ import annotations

import pytest

from tests.qemu import guests
from tests.qemu.hosts import Hosts, Place
from tests.qemu.split import MIB, check_sum, run_within, set_target, shares, wait_until, where

pytestmark = pytest.mark.qemu


def place(pattern: str) -> Place:
    parameters = f"smemv.fill=160M smemv.rate=20000 smemv.pattern={pattern}"
    return Place(guests.linux(parameters), 256 * MIB, 96 * MIB)


def test_pages_in_turn_are_read_ahead(hosts: Hosts) -> None:
    vm_place = place("seq")
    _, vm, memservers = hosts.split(vm_place)
    before = where(vm)["faults"]
    assert run_within(vm, vm_place.limit, seconds=10)["wrong"] == 0
    info = where(vm)
    assert info["read-ahead"] > 5000
    assert info["read-ahead-used"] > 0.8 * info["read-ahead"]
    assert info["faults"] - before < 0.5 * info["pages-in"]
    vm.qmp("stop")
    check_sum(vm, memservers)


def test_strewn_pages_are_not_read_ahead(hosts: Hosts) -> None:
    vm_place = place("uniform")
    _, vm, _ = hosts.split(vm_place)
    assert run_within(vm, vm_place.limit, seconds=5)["wrong"] == 0
    info = where(vm)
    assert info["pages-in"] > 1000
    assert info["read-ahead"] < 0.02 * info["pages-in"]


def test_it_keeps_under_a_limit_that_goes_up_and_down(hosts: Hosts) -> None:
    vm_place = place("seq")
    lowest = 64 * MIB
    source = hosts.running_vm(vm_place)
    vm = hosts.vm(vm_place, incoming=True)
    memservers = [hosts.start_memserver(share) for share in shares(vm_place.memory, lowest, 2)]
    set_target(source, "test", vm_place.memory, lowest, memservers)
    source.migrate_to(vm)
    for limit in (vm_place.limit, lowest) * 2:
        vm.qmp("smemv-set-limit", limit=limit)
        wait_until(lambda: vm.resident() <= limit)  # noqa: B023  it is called here only
        assert run_within(vm, limit, seconds=3)["wrong"] == 0
    vm.qmp("stop")
    check_sum(vm, memservers)
