# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that the guest of a split VM gives back: it takes no room any more, here or on sub-hosts."""

from __future__ import annotations

import pytest

from tests.qemu import guests
from tests.qemu.hosts import REPORTING, Hosts, Place
from tests.qemu.memserver import Memserver
from tests.qemu.split import MIB, PAGE, check_sum, run_within, set_target, wait_until, where
from tests.qemu.vm import Vm

pytestmark = pytest.mark.qemu

ONCE = 128 * MIB
FILL = 32 * MIB
BALLOON = ["-device", "virtio-balloon-pci,id=balloon0"]
# The kernel reports blocks of 2 MiB, so not all of it.
MOST = ONCE * 3 // 4


def split(hosts: Hosts, place: Place, devices: list[str], replicas: int = 1) -> tuple[Vm, list[Memserver]]:
    """A VM that is split and paused, so that no time passes for its guest, and its two memservers."""
    source = hosts.running_vm(place, devices=devices)
    source.qmp("stop")
    destination = hosts.vm(place, incoming=True, devices=devices)
    memservers = [hosts.start_memserver(2 * place.memory) for _ in range(2)]
    # By address: of what is free later some is here and the rest elsewhere.
    options = {"policy": "threshold", "replicas": replicas}
    set_target(source, "test", place.memory, place.limit, memservers, **options)
    source.migrate_to(destination)
    source.stop()
    return destination, memservers


def check_runs_on(vm: Vm, place: Place, memservers: list[Memserver]) -> None:
    assert run_within(vm, place.limit, seconds=5)["wrong"] == 0
    vm.qmp("stop")
    check_sum(vm, memservers)


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_free_page_reporting(hosts: Hosts, replicas: int) -> None:
    parameters = f"smemv.once={ONCE // MIB}M smemv.keep=20 smemv.fill={FILL // MIB}M smemv.rate=20000"
    place = Place(guests.linux(parameters), 256 * MIB, 96 * MIB)
    vm, memservers = split(hosts, place, REPORTING, replicas)
    before = where(vm)
    vm.qmp("cont")
    assert before["zero"] < MOST
    wait_until(lambda: where(vm)["zero"] > before["zero"] + MOST, timeout=90)
    after = where(vm)
    # Most of it was on sub-hosts, and was not fetched to be given back.
    assert sum(s["remote"] for s in after["sub-hosts"]) < sum(s["remote"] for s in before["sub-hosts"]) - ONCE // 4
    assert (after["pages-in"] - before["pages-in"]) * PAGE < FILL + ONCE // 8
    check_runs_on(vm, place, memservers)


@pytest.mark.nightly
def test_balloon(hosts: Hosts) -> None:
    parameters = f"smemv.once={ONCE // MIB}M smemv.fill={FILL // MIB}M smemv.rate=20000"
    place = Place(guests.linux(parameters), 256 * MIB, 96 * MIB)
    vm, memservers = split(hosts, place, BALLOON)
    before = where(vm)
    vm.qmp("cont")
    vm.qmp("balloon", value=place.memory - ONCE)
    wait_until(lambda: vm.qmp("query-balloon")["actual"] == place.memory - ONCE, timeout=90)
    assert where(vm)["zero"] > before["zero"] + MOST // 2
    vm.qmp("balloon", value=place.memory)
    wait_until(lambda: vm.qmp("query-balloon")["actual"] == place.memory, timeout=90)
    check_runs_on(vm, place, memservers)


def test_memory_is_given_back_while_the_vm_moves(hosts: Hosts) -> None:
    parameters = f"smemv.once={ONCE // MIB}M smemv.keep=20 smemv.fill={FILL // MIB}M smemv.rate=20000"
    place = Place(guests.linux(parameters), 256 * MIB, 96 * MIB)
    first, memservers = split(hosts, place, REPORTING)
    second = hosts.vm(place, incoming=True, devices=REPORTING)
    first.set_capabilities("return-path")
    # So slow that the guest gives it back meanwhile.
    first.qmp("migrate-set-parameters", max_bandwidth=2 * MIB)
    before = where(first)
    first.qmp("cont")
    first.qmp("migrate", uri=second.listen())
    wait_until(lambda: where(first)["zero"] > before["zero"] + MOST, timeout=90)
    assert first.qmp("query-migrate")["status"] == "active"
    first.qmp("migrate-set-parameters", max_bandwidth=0)
    first.wait_for_migration(timeout=120)
    second.wait_for_guest(lambda status: True, timeout=60)
    first.stop()
    assert where(second)["zero"] > before["zero"] + MOST
    check_runs_on(second, place, memservers)
