# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages that come in stay on their sub-host too, where it has room to spare, and need not be sent there again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.qemu import guests
from tests.qemu.hosts import Hosts, Place
from tests.qemu.memserver import Memserver
from tests.qemu.split import MIB, check_sum, run_within, wait_until, where
from tests.qemu.test_moves import roomy, settle, sub_hosts
from tests.qemu.vm import Vm

pytestmark = pytest.mark.qemu


def place(writes: int) -> Place:
    """A guest of which so many per cent of the accesses write."""
    return Place(guests.linux(f"smemv.fill=160M smemv.rate=20000 smemv.writes={writes}"), 256 * MIB, 96 * MIB, vcpus=2)


def layout(vm_place: Place, memservers: list[Memserver], spare: int) -> dict[str, Any]:
    """Each sub-host reserves so many bytes more than it must."""
    aims = sub_hosts(vm_place, vm_place.limit, memservers)
    return {"main_limit": vm_place.limit, "sub_hosts": [{**aim, "share": aim["share"] + spare} for aim in aims]}


def split(hosts: Hosts, vm_place: Place, spare: int) -> tuple[Vm, list[Memserver]]:
    memservers = roomy(hosts, 2)
    source, vm = hosts.running_vm(vm_place), hosts.vm(vm_place, incoming=True)
    source.qmp("smemv-set-target", name="test", sample_time=0, **layout(vm_place, memservers, spare))
    source.set_capabilities("return-path")
    source.migrate_to(vm)
    source.stop()
    return vm, memservers


def run(vm: Vm, vm_place: Place, seconds: float) -> dict[str, Any]:
    """What has been evicted meanwhile, and what of that was not sent."""
    before = where(vm)
    assert run_within(vm, vm_place.limit, seconds)["wrong"] == 0
    after = where(vm)
    return {key: after[key] - before[key] for key in ("pages-out", "unsent")}


@pytest.mark.parametrize(("writes", "least", "most"), [(0, 0.95, 1), (30, 0.1, 0.9)])
def test_what_is_unchanged_is_not_sent(hosts: Hosts, writes: int, least: float, most: float) -> None:
    vm_place = place(writes)
    vm, memservers = split(hosts, vm_place, 64 * MIB)
    # Pages that have been here since the split are on no sub-host.
    run(vm, vm_place, seconds=10)
    evicted = run(vm, vm_place, seconds=5)
    assert least <= evicted["unsent"] / evicted["pages-out"] <= most
    vm.qmp("stop")
    check_sum(vm, memservers)


def test_without_room_to_spare_all_are_sent(hosts: Hosts) -> None:
    vm_place = place(0)
    vm, memservers = split(hosts, vm_place, 0)
    evicted = run(vm, vm_place, seconds=5)
    assert evicted["unsent"] < 0.01 * evicted["pages-out"]
    vm.qmp("stop")
    check_sum(vm, memservers)


def test_what_is_kept_makes_room_for_a_lower_limit(hosts: Hosts) -> None:
    vm_place = place(5)
    vm, memservers = split(hosts, vm_place, 32 * MIB)
    run(vm, vm_place, seconds=10)
    limit = 64 * MIB
    vm.qmp("smemv-set-limit", limit=limit)
    wait_until(lambda: vm.resident() <= limit)
    assert run_within(vm, limit, seconds=3)["wrong"] == 0
    vm.qmp("stop")
    check_sum(vm, memservers)


def test_a_vm_moves_on_with_what_is_kept(hosts: Hosts) -> None:
    vm_place = place(5)
    first, memservers = split(hosts, vm_place, 64 * MIB)
    run(first, vm_place, seconds=5)
    second = hosts.vm(vm_place, incoming=True)
    first.set_capabilities("return-path")
    first.migrate_to(second)
    first.stop()
    settle(second)
    run(second, vm_place, seconds=5)
    second.qmp("smemv-rebalance", **layout(vm_place, memservers, 0))
    settle(second)
    assert run_within(second, vm_place.limit, seconds=2)["wrong"] == 0
    second.qmp("stop")
    check_sum(second, memservers)
