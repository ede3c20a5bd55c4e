# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pages a split migration leaves on the main host."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpError

from tests.qemu import guests
from tests.qemu.hosts import Hosts, Place
from tests.qemu.split import MIB, PAGE, check_sum, run_within, set_target, wait_until, where
from tests.qemu.vm import Vm

pytestmark = pytest.mark.qemu

FILLED = 160 * MIB
HOT_PAGES = FILLED // PAGE // 10
# Of a guest that does next to nothing, what it runs is more than that, and the rest that it uses is less.
CODE_PAGES = 1000


def place(parameters: str, vcpus: int = 1) -> Place:
    return Place(guests.linux(f"smemv.fill={FILLED // MIB}M {parameters}"), 256 * MIB, 96 * MIB, vcpus=vcpus)


def hot_place() -> Place:
    """A guest that uses a tenth of its pages, between all the others, and no other page."""
    return place("smemv.pattern=hot:10:100:strewn smemv.rate=20000")


def migrate(hosts: Hosts, vm_place: Place, **options: Any) -> tuple[Vm, dict[str, Any]]:
    """Split a new VM; returns it, and what was known of its pages' heat when the first page was sent."""
    source = hosts.running_vm(vm_place)
    destination = hosts.vm(vm_place, incoming=True)
    set_target(source, "test", vm_place.memory, vm_place.limit, hosts.memservers(vm_place, 2), **options)
    # Slow enough to be asked on the way.
    source.qmp("migrate-set-parameters", max_bandwidth=32 * MIB)
    source.qmp("migrate", uri=destination.listen())
    wait_until(lambda: source.qmp("query-migrate").get("status") == "active", timeout=60)
    heat = where(source).get("heat", {})
    source.qmp("migrate-set-parameters", max_bandwidth=0)
    assert source.wait_for_migration(timeout=120)["status"] == "completed"
    if heat:
        # It can be asked of for as long as the process is there.
        assert sum(region["used"] for region in source.qmp("query-smemv-map", regions=16)) == heat["used"]
    return destination, heat


def pages_in(vm: Vm, vm_place: Place) -> int:
    """Pages that come in until the guest has used most of its hot pages."""
    first = vm.wait_for_guest(lambda status: True, timeout=60)["accesses"]
    vm.wait_for_guest(lambda status: status["accesses"] > first + 4 * HOT_PAGES, timeout=120)
    assert run_within(vm, vm_place.limit, seconds=1)["wrong"] == 0
    return where(vm)["pages-in"]


def test_hot_pages_stay_on_the_main_host(hosts: Hosts) -> None:
    vm_place = hot_place()
    # Longer than the time between two looks of the guest program at its machine, which uses some pages too.
    vm, heat = migrate(hosts, vm_place, policy="hot", sample_time=6000)
    assert not heat["sampling"]
    assert heat["used"] > 0.9 * HOT_PAGES * PAGE
    assert heat["absent"] > 0
    # What else the guest uses, and more seldom than that, is some hundred pages; of hot ones half would be missing.
    assert pages_in(vm, vm_place) < 0.2 * HOT_PAGES


@pytest.mark.parametrize(
    ("policy", "sample_time"),
    [
        ("threshold", 4000),
        pytest.param("random", 4000, marks=pytest.mark.nightly),
        pytest.param("hot", 0, marks=pytest.mark.nightly),
    ],
)
def test_without_sampling_hot_pages_lie_anywhere(hosts: Hosts, policy: str, sample_time: int) -> None:
    vm_place = hot_place()
    vm, _ = migrate(hosts, vm_place, policy=policy, sample_time=sample_time)
    assert pages_in(vm, vm_place) > 0.2 * HOT_PAGES


def test_pages_that_are_only_read_are_seen_and_stay_right(hosts: Hosts) -> None:
    # What may be watched is a part of the processors' time, and costs more of it on a busy machine.
    vm_place = place("smemv.writes=0 smemv.rate=20000 smemv.sweep=10", vcpus=4)
    vm, heat = migrate(hosts, vm_place, sample_time=10000)
    assert heat["watched"] >= heat["faults"] * PAGE
    assert heat["faults"] > 50
    sweeps = vm.wait_for_guest(lambda status: True, timeout=60)["sweeps"]
    vm.wait_for_guest(lambda status: status["sweeps"] > sweeps, timeout=120)
    assert run_within(vm, vm_place.limit, seconds=1)["wrong"] == 0


def test_code_that_an_emulated_processor_has_translated_is_in_use(hosts: Hosts) -> None:
    _, heat = migrate(hosts, place("smemv.rate=10"), policy="hot", sample_time=4000)
    assert heat["used"] > CODE_PAGES * PAGE


@pytest.mark.nightly
def test_guest_that_begins_to_use_memory_while_it_is_sampled(hosts: Hosts) -> None:
    vm_place = place("smemv.sweep=5")
    source = hosts.vm(vm_place)
    destination = hosts.vm(vm_place, incoming=True)
    memservers = hosts.memservers(vm_place, 2)
    source.wait_for_guest(lambda status: status["filled"] > 0, timeout=120)
    set_target(source, "test", vm_place.memory, vm_place.limit, memservers, sample_time=4000)
    source.migrate_to(destination)
    destination.wait_for_guest(lambda status: status["sweeps"] > 0, timeout=180)
    assert run_within(destination, vm_place.limit, seconds=1)["wrong"] == 0
    destination.qmp("stop")
    check_sum(destination, memservers)


def test_migration_is_cancelled_while_pages_are_sampled(hosts: Hosts) -> None:
    vm_place = place("smemv.writes=0 smemv.sweep=1")
    source = hosts.running_vm(vm_place)
    memservers = hosts.memservers(vm_place, 2)
    set_target(source, "test", vm_place.memory, vm_place.limit, memservers, sample_time=15000)
    source.qmp("migrate", uri=hosts.vm(vm_place, incoming=True).listen())
    wait_until(lambda: where(source).get("heat", {}).get("sampling", False))
    # Pages are moved out from two fifths of the time on.
    time.sleep(9)
    source.qmp("migrate_cancel")
    assert source.wait_for_migration(timeout=60)["status"] == "cancelled"
    assert where(source)["state"] == "whole"
    sweeps = source.guest_status()["sweeps"]
    source.wait_for_guest(lambda status: status["sweeps"] > sweeps + 1, timeout=120)
    assert source.guest_status()["wrong"] == 0


def test_sampling_for_too_long_is_refused(hosts: Hosts) -> None:
    vm_place = hot_place()
    source = hosts.vm(vm_place)
    with pytest.raises(QmpError, match="at most 600000 ms"):
        set_target(source, "test", vm_place.memory, vm_place.limit, hosts.memservers(vm_place, 1), sample_time=600001)


def total(regions: list[dict[str, Any]], key: str) -> int:
    return sum(region[key] for region in regions)


def test_map_tells_where_each_part_of_memory_is(hosts: Hosts) -> None:
    vm_place = place("smemv.rate=10")
    vm, _ = migrate(hosts, vm_place, policy="threshold")
    vm.qmp("stop")
    time.sleep(1)
    info = where(vm)
    for count in (1, 7, 256):
        regions = vm.qmp("query-smemv-map", regions=count)
        assert len(regions) == count
        assert total(regions, "size") == vm_place.memory
        assert (total(regions, "resident"), total(regions, "zero")) == (info["resident"], info["zero"])
        remote = [sum(parts) for parts in zip(*(region["remote"] for region in regions))]
        assert remote == [sub_host["remote"] for sub_host in info["sub-hosts"]]
    # The lowest addresses are here, the highest on the sub-hosts, save for what the guest has paged in since.
    assert regions[0]["resident"] > 0
    assert sum(regions[-1]["remote"]) > regions[-1]["resident"]
    for count in (0, 257):
        with pytest.raises(QmpError, match="from 1 to 256"):
            vm.qmp("query-smemv-map", regions=count)


BALLOON = [
    *("-object", "iothread,id=thread0"),
    *("-device", "virtio-balloon-pci,id=balloon0,free-page-hint=on,iothread=thread0"),
]
ONCE = 128 * MIB


def test_memory_that_the_guest_has_free_does_not_travel(hosts: Hosts) -> None:
    vm_place = Place(guests.linux(f"smemv.once={ONCE // MIB}M smemv.fill=32M smemv.rate=20000"), 256 * MIB, 96 * MIB)
    source = hosts.running_vm(vm_place, devices=BALLOON)
    assert source.resident() > ONCE + 32 * MIB
    destination = hosts.vm(vm_place, incoming=True, devices=BALLOON)
    memservers = hosts.memservers(vm_place, 2)
    set_target(source, "test", vm_place.memory, vm_place.limit, memservers, sample_time=3000)
    source.migrate_to(destination)
    info = where(destination)
    # What is left is the guest's kernel, and what it fills; the free pages do not take the main host's room either.
    assert info["zero"] > ONCE
    assert info["resident"] > 24 * MIB
    assert run_within(destination, vm_place.limit, seconds=3)["wrong"] == 0
    destination.qmp("stop")
    check_sum(destination, memservers)


@pytest.mark.nightly
def test_split_vm_that_moves_is_not_asked_for_free_memory(hosts: Hosts) -> None:
    parameters = f"smemv.once={ONCE // MIB}M smemv.keep=15 smemv.fill=32M smemv.rate=20000"
    vm_place = Place(guests.linux(parameters), 256 * MIB, 96 * MIB)
    memservers = [hosts.start_memserver(2 * vm_place.memory) for _ in range(2)]
    first = hosts.running_vm(vm_place, devices=BALLOON)
    second, third = (hosts.vm(vm_place, incoming=True, devices=BALLOON) for _ in range(2))
    set_target(first, "test", vm_place.memory, vm_place.limit, memservers)
    first.migrate_to(second)
    # The memory that the guest gives back then is on the sub-hosts.
    second.wait_for_guest(lambda status: status["t"] > 17, timeout=120)
    fetched = where(second)["pages-in"]
    second.set_capabilities("return-path")
    second.migrate_to(third)
    assert where(second)["pages-in"] - fetched < ONCE // PAGE // 10
    assert run_within(third, vm_place.limit, seconds=3)["wrong"] == 0
    third.qmp("stop")
    check_sum(third, memservers)
