# SPDX-License-Identifier: GPL-3.0-or-later
"""A split VM moves again: to another main host, to other sub-hosts, and back onto one host."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence

import pytest

from tests.qemu.contended_link import ContendedLink
from tests.qemu.hosts import CREDENTIALS, Hosts, Place, bare, encrypt, small
from tests.qemu.memserver import Memserver
from tests.qemu.split import MIB, PAGE, check_sum, run_within, set_target, shares, wait_until, where
from tests.qemu.vm import Vm

pytestmark = pytest.mark.qemu

# While a split VM moves, its sub-hosts reserve room for all of it.
ROOMY = 512 * MIB


def roomy(hosts: Hosts, count: int) -> list[Memserver]:
    return [hosts.start_memserver(ROOMY) for _ in range(count)]


def split(hosts: Hosts, place: Place, memservers: Sequence[Memserver]) -> Vm:
    """A VM that was split over those memservers; returns the one that runs."""
    source = hosts.running_vm(place)
    destination = hosts.vm(place, incoming=True)
    set_target(source, "test", place.memory, place.limit, memservers)
    source.migrate_to(destination)
    source.stop()
    return destination


def settle(vm: Vm, timeout: float = 60) -> None:
    """Wait until pages and reservations are where they are to be."""
    wait_until(lambda: not where(vm)["rebalancing"], timeout)


def sub_hosts(place: Place, limit: int, memservers: Sequence[Memserver]) -> list[dict[str, object]]:
    each = shares(place.memory, limit, len(memservers))
    return [memserver.sub_host(share) for memserver, share in zip(memservers, each)]


def check_empty(memservers: Sequence[Memserver]) -> None:
    for memserver in memservers:
        stat = memserver.stat()
        assert (stat["sessions"], stat["reserved"], stat["used"]) == ([], 0, 0)


def check_whole(vm: Vm, place: Place) -> None:
    info = where(vm)
    assert (info["state"], info["resident"], info["sub-hosts"]) == ("whole", place.memory, [])


@pytest.mark.parametrize("guest", [small, pytest.param(bare, marks=[pytest.mark.kvm, pytest.mark.nightly])])
def test_main_host_changes_and_sub_hosts_stay(hosts: Hosts, guest: Callable[[], Place]) -> None:
    place = guest()
    memservers = roomy(hosts, 2)
    first = split(hosts, place, memservers)
    run_within(first, place.limit, seconds=3)
    second = hosts.vm(place, incoming=True)
    first.set_capabilities("return-path")
    first.migrate_to(second)
    assert first.run_state() == "postmigrate"
    first.qmp("quit")
    assert first.process.wait(timeout=30) == 0
    settle(second)
    assert run_within(second, place.limit, seconds=5)["wrong"] == 0
    reserved = shares(place.memory, place.limit, 2)
    assert [memserver.stat()["reserved"] for memserver in memservers] == reserved
    second.qmp("stop")
    check_sum(second, memservers)


def test_back_onto_one_host(hosts: Hosts) -> None:
    place = small(2)
    memservers = roomy(hosts, 2)
    first = split(hosts, place, memservers)
    second = hosts.vm(place, incoming=True)
    first.qmp("smemv-set-target", name="test", main_limit=place.memory, sub_hosts=[])
    first.set_capabilities("return-path")
    first.migrate_to(second)
    wait_until(lambda: where(second)["state"] == "whole", timeout=60)
    check_whole(second, place)
    check_empty(memservers)
    assert second.run_guest(3)["wrong"] == 0
    # It is a VM like any other: it can be split once more.
    third = hosts.vm(place, incoming=True)
    set_target(second, "test", place.memory, place.limit, memservers)
    second.migrate_to(third)
    assert run_within(third, place.limit, seconds=5)["wrong"] == 0


def test_whole_again_where_it_is(hosts: Hosts) -> None:
    place = small()
    memservers = roomy(hosts, 2)
    vm = split(hosts, place, memservers)
    vm.qmp("smemv-rebalance", main_limit=place.memory, sub_hosts=[])
    wait_until(lambda: where(vm)["state"] == "whole", timeout=60)
    check_whole(vm, place)
    check_empty(memservers)
    assert vm.run_guest(3)["wrong"] == 0


def test_sub_host_is_emptied_into_others(hosts: Hosts) -> None:
    place = small(2)
    memservers = roomy(hosts, 3)
    vm = split(hosts, place, memservers[:2])
    vm.qmp("smemv-rebalance", main_limit=place.limit, sub_hosts=sub_hosts(place, place.limit, memservers[1:]))
    settle(vm)
    check_empty(memservers[:1])
    info = where(vm)
    assert [sub_host["name"] for sub_host in info["sub-hosts"]] == ["sub-2", "sub-3"]
    assert run_within(vm, place.limit, seconds=5)["wrong"] == 0
    vm.qmp("stop")
    check_sum(vm, memservers[1:])


def test_shares_change(hosts: Hosts) -> None:
    place = small()
    memservers = roomy(hosts, 2)
    vm = split(hosts, place, memservers)
    more, less = (place.memory - 2 * PAGE, 64 * MIB)
    aim = [memserver.sub_host(share) for memserver, share in zip(memservers, (less, more))]
    vm.qmp("smemv-rebalance", main_limit=place.limit, sub_hosts=aim)
    settle(vm)
    assert [memserver.stat()["reserved"] for memserver in memservers] == [less, more]
    assert run_within(vm, place.limit, seconds=5)["wrong"] == 0
    vm.qmp("stop")
    check_sum(vm, memservers)


def test_several_hosts_to_several_others(hosts: Hosts) -> None:
    place = small(2)
    memservers = roomy(hosts, 4)
    first = split(hosts, place, memservers[:2])
    second = hosts.vm(place, incoming=True)
    limit = place.limit + 32 * MIB
    aim = sub_hosts(place, limit, memservers[2:])
    first.qmp("smemv-set-target", name="test", main_limit=limit, sub_hosts=aim)
    first.set_capabilities("return-path")
    first.migrate_to(second)
    settle(second)
    check_empty(memservers[:2])
    assert run_within(second, limit, seconds=5)["wrong"] == 0
    assert where(second)["limit"] == limit
    second.qmp("stop")
    check_sum(second, memservers[2:])


def test_move_to_a_smaller_main_host(hosts: Hosts) -> None:
    place = small()
    memservers = roomy(hosts, 2)
    first = split(hosts, place, memservers)
    second = hosts.vm(place, incoming=True)
    limit = place.limit - 32 * MIB
    first.qmp("smemv-set-target", name="test", main_limit=limit, sub_hosts=sub_hosts(place, limit, memservers))
    first.set_capabilities("return-path")
    first.migrate_to(second)
    assert run_within(second, limit, seconds=5)["wrong"] == 0


@pytest.mark.parametrize("how", ["cancelled", "destination lost", "no room"])
def test_move_that_fails_leaves_the_vm_as_it_was(hosts: Hosts, how: str) -> None:
    place = small(2)
    memservers = roomy(hosts, 2)
    joining = hosts.start_memserver(64 * MIB if how == "no room" else ROOMY)
    first = split(hosts, place, memservers)
    before = [memserver.stat()["reserved"] for memserver in memservers]
    second = hosts.vm(place, incoming=True)
    aim = sub_hosts(place, place.limit, [memservers[1], joining])
    first.qmp("smemv-set-target", name="test", main_limit=place.limit, sub_hosts=aim)
    first.set_capabilities("return-path")
    first.qmp("migrate-set-parameters", max_bandwidth=16 * MIB)
    first.qmp("migrate", uri=second.listen())
    if how != "no room":
        wait_until(lambda: first.qmp("query-migrate").get("ram", {}).get("transferred", 0) > 4 * MIB)
    if how == "cancelled":
        first.qmp("migrate_cancel")
    elif how == "destination lost":
        second.stop()
    state = first.wait_for_migration(timeout=60)
    assert state["status"] == ("cancelled" if how == "cancelled" else "failed")
    if how == "no room":
        assert "sub-3" in state["error-desc"]
        assert "NO_SPACE" in state["error-desc"]
    settle(first)
    check_empty([joining])
    assert [memserver.stat()["reserved"] for memserver in memservers] == before
    assert run_within(first, place.limit, seconds=5)["wrong"] == 0
    first.qmp("stop")
    check_sum(first, memservers)


def test_it_goes_on_when_a_sub_host_is_back(hosts: Hosts) -> None:
    place = small()
    memservers = roomy(hosts, 2)
    vm = split(hosts, place, memservers)
    absent = hosts.start_memserver(ROOMY)
    port = absent.port
    absent.stop()
    aim = sub_hosts(place, place.limit, [memservers[1], absent])
    vm.qmp("smemv-rebalance", main_limit=place.limit, sub_hosts=aim)
    wait_until(lambda: "sub-3" in where(vm).get("rebalance-error", ""))
    assert run_within(vm, place.limit, seconds=2)["wrong"] == 0
    back = hosts.start_memserver(ROOMY, port)
    settle(vm)
    check_empty(memservers[:1])
    assert run_within(vm, place.limit, seconds=2)["wrong"] == 0
    assert back.stat()["used"] > 0


def test_the_vms_own_threads_claim_at_once(hosts: Hosts) -> None:
    """What is put where pages are copied to, and a link there that fails: both are fenced, and none ends the VM."""
    place = small(vcpus=2)
    leaving, staying, joining = roomy(hosts, 3)
    vm = split(hosts, place, [leaving, staying])
    with ContendedLink("127.0.0.1", joining.port) as link:
        aim = sub_hosts(place, place.limit, [staying, joining])
        aim[1]["port"] = link.port
        vm.qmp("smemv-rebalance", main_limit=place.limit, sub_hosts=aim, max_bandwidth=4 * MIB)
        for _ in range(6):
            time.sleep(1)
            link.cut()
            time.sleep(0.2)
            link.mend()
        assert where(vm)["rebalancing"]
        vm.qmp("smemv-rebalance", main_limit=place.limit, sub_hosts=aim)
        settle(vm)
        assert run_within(vm, place.limit, seconds=2)["wrong"] == 0


class Journey:
    """A VM on its way over hosts, under load: each operation is one of those that an operator has."""

    def __init__(
        self,
        hosts: Hosts,
        place: Place,
        seed: int,
        devices: Sequence[str],
        memservers: Sequence[Memserver],
        seal: bool = False,
        replicas: int = 1,
    ) -> None:
        self.hosts = hosts
        self.place = place
        self.devices = devices
        self.random = random.Random(seed)
        self.memservers = memservers
        self.seal = seal
        self.replicas = replicas
        self.vm = hosts.running_vm(place, devices)
        self.used: list[Memserver] = []
        self.limit = place.memory
        # What each sub-host reserves beyond what is needed: pages that have come back are kept there.
        self.spare = 0

    def move(self) -> None:
        """To a new main host, with other sub-hosts or the same ones."""
        self.aim(new_sub_hosts=self.random.random() < 0.7)
        destination = self.migration()
        self.vm.migrate_to(destination)
        self.vm.qmp("quit")
        assert self.vm.process.wait(timeout=30) == 0
        self.vm = destination

    def consolidate(self) -> None:
        """Back onto one host, which may be a new one."""
        self.used, self.limit = [], self.place.memory
        if self.random.random() < 0.5:
            self.vm.qmp("smemv-rebalance", **self.layout())
            return
        destination = self.migration()
        self.vm.migrate_to(destination)
        self.vm.stop()
        self.vm = destination

    def rebalance(self) -> None:
        """Other sub-hosts, or other shares and limit, with the VM where it is."""
        self.aim(new_sub_hosts=self.random.random() < 0.7)
        self.vm.qmp("smemv-rebalance", **self.layout())

    def fail(self) -> None:
        """A move that is cancelled, at any time."""
        before = self.used, self.limit, self.spare
        self.aim(new_sub_hosts=True)
        destination = self.migration()
        self.vm.qmp("migrate-set-parameters", max_bandwidth=32 * MIB)
        self.vm.qmp("migrate", uri=destination.listen())
        self.random.choice([lambda: self.vm.qmp("migrate_cancel"), destination.stop])()
        if self.vm.wait_for_migration(timeout=60)["status"] == "completed":
            self.vm.stop()
            self.vm = destination
        else:
            self.used, self.limit, self.spare = before
            destination.stop()

    def aim(self, new_sub_hosts: bool) -> None:
        self.limit = self.random.randrange(64, self.place.memory // MIB // 2) * MIB
        self.spare = self.random.choice([0, 4, 64]) * MIB
        if new_sub_hosts or not self.used:
            self.used = self.random.sample(self.memservers, self.random.randint(self.replicas, 4))

    def layout(self) -> dict[str, object]:
        used = sub_hosts(self.place, self.limit, self.used) if self.used else []
        used = [{**sub_host, "share": self.replicas * sub_host["share"] + self.spare} for sub_host in used]
        return {"main_limit": self.limit, "sub_hosts": used}

    def migration(self) -> Vm:
        """What the layout needs is set; the destination."""
        options = {"tls_creds": CREDENTIALS, "seal": self.seal, "replicas": self.replicas}
        self.vm.qmp("smemv-set-target", name="test", **options, **self.layout())
        self.vm.set_capabilities("return-path")
        destination = self.hosts.vm(self.place, incoming=True, devices=self.devices)
        if self.seal:
            encrypt(self.vm, destination)
        return destination

    def step(self) -> str:
        operations = [self.move, self.fail, self.rebalance, self.consolidate] if self.used else [self.move]
        operation = self.random.choice(operations)
        operation()
        settle(self.vm)
        return operation.__name__

    def check(self) -> None:
        """Nothing is wrong, and on every host is exactly what the layout needs."""
        assert where(self.vm)["sealed"] is (self.seal and bool(self.used))
        if self.used:
            assert run_within(self.vm, self.limit, seconds=1)["wrong"] == 0
            self.vm.qmp("stop")
            check_sum(self.vm, [memserver for memserver in self.memservers if memserver in self.used])
            self.vm.qmp("cont")
        else:
            assert self.vm.run_guest(1)["wrong"] == 0
            wait_until(lambda: where(self.vm)["state"] == "whole")
        wanted = {each["name"]: each["share"] for each in self.layout()["sub_hosts"]}
        for memserver in self.memservers:
            assert memserver.stat()["reserved"] == wanted.get(memserver.name, 0), memserver.name
        assert not self.vm.wrong_lines()


@pytest.mark.parametrize("seed", range(*map(int, os.environ.get("SMEMV_JOURNEYS", "2:3").split(":"))))
def test_journey(hosts: Hosts, main_host: list[str], start_with_tls: Callable[[], Memserver], seed: int) -> None:
    """Ten operations in a random order, by TLS; with an even seed pages are sealed. More: SMEMV_JOURNEYS=FIRST:END."""
    memservers = [start_with_tls() for _ in range(5)]
    journey = Journey(hosts, small(2), seed, main_host, memservers, seal=seed % 2 == 0)
    for number in range(10):
        name = journey.step()
        print(f"{number}: {name}: {[memserver.name for memserver in journey.used]}, limit {journey.limit // MIB} MiB")
        journey.check()
