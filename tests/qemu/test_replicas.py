# SPDX-License-Identifier: GPL-3.0-or-later
"""A split VM whose pages are on two sub-hosts each: one may be lost, and the guest runs on with every page right."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpCommandError

from tests.qemu.hosts import Hosts, Place, small
from tests.qemu.memserver import Memserver
from tests.qemu.split import MIB, check_sum, run_within, set_target, shares, wait_until, where
from tests.qemu.test_moves import Journey, check_empty, settle
from tests.qemu.vm import STATUS_PREFIX, Vm, parse_status

pytestmark = pytest.mark.qemu

ROOMY = 512 * MIB
# What the guest may stand still where a sub-host is lost.
LONGEST_PAUSE_MS = 3000


def split(hosts: Hosts, place: Place, memservers: Sequence[Memserver], **options: object) -> Vm:
    """A VM that was split over those memservers with two copies; returns the one that runs."""
    source = hosts.running_vm(place)
    destination = hosts.vm(place, incoming=True)
    set_target(source, "test", place.memory, place.limit, memservers, replicas=2, **options)
    source.migrate_to(destination)
    source.stop()
    return destination


def sub_hosts(place: Place, memservers: Sequence[Memserver], **domains: str) -> list[dict[str, Any]]:
    """As smemv-set-target and smemv-rebalance want them, with two copies; domains by the memservers' names."""
    found = []
    for memserver, share in zip(memservers, shares(place.memory, place.limit, len(memservers))):
        domain = domains.get(memserver.name.replace("-", "_"))
        found.append({**memserver.sub_host(2 * share), **({"failure-domain": domain} if domain else {})})
    return found


def redundant(vm: Vm) -> bool:
    info = where(vm)
    return info["single"] == 0 and not info["rebalancing"]


def failed(vm: Vm) -> list[str]:
    return [sub_host["name"] for sub_host in where(vm)["sub-hosts"] if sub_host["failed"]]


def longest_pause_ms(vm: Vm, since: int) -> int:
    """The longest time between two accesses of the guest, of its status lines from that number on."""
    lines = [line for line in vm.console_lines() if line.startswith(STATUS_PREFIX)]
    return max(parse_status(line)["maxgap_ms"] for line in lines[since:])


def status_lines(vm: Vm) -> int:
    return sum(line.startswith(STATUS_PREFIX) for line in vm.console_lines())


def lose(vm: Vm, memserver: Memserver, how: signal.Signals) -> int:
    """Lose a memserver, and wait until the VM has found out; returns the guest's longest pause meanwhile, in ms."""
    lines = status_lines(vm)
    memserver.process.send_signal(how)
    wait_until(lambda: failed(vm) == [memserver.name], timeout=30)
    vm.run_guest(3)
    return longest_pause_ms(vm, lines)


def test_each_page_is_on_two_sub_hosts(hosts: Hosts) -> None:
    place = small(2)
    memservers = [hosts.start_memserver(ROOMY) for _ in range(3)]
    vm = split(hosts, place, memservers)
    assert run_within(vm, place.limit, seconds=6)["wrong"] == 0
    wait_until(lambda: redundant(vm))
    vm.qmp("stop")
    check_sum(vm, memservers)
    info = where(vm)
    remote = [sub_host["remote"] for sub_host in info["sub-hosts"]]
    assert info["replicas"] == 2
    assert sum(remote) == sum(sub_host["second-copies"] for sub_host in info["sub-hosts"])
    # Either copy is read from: no sub-host serves nearly all of the guest.
    assert max(remote) < 0.6 * sum(remote)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.nightly)])
def test_a_sub_host_is_lost(hosts: Hosts, how: signal.Signals) -> None:
    place = small(2)
    memservers = [hosts.start_memserver(ROOMY) for _ in range(3)]
    vm = split(hosts, place, memservers)
    run_within(vm, place.limit, seconds=3)
    pause = lose(vm, memservers[0], how)
    print(f"longest pause: {pause} ms")
    assert pause <= LONGEST_PAUSE_MS
    assert run_within(vm, place.limit, seconds=3)["wrong"] == 0
    # The second copies are made again, and then another one may be lost.
    wait_until(lambda: redundant(vm), timeout=60)
    assert vm.wait_for_event("SMEMV_SUB_HOST_FAILED", timeout=30)["name"] == "sub-1"
    vm.wait_for_event("SMEMV_REDUNDANT", timeout=30)
    memservers[1].process.send_signal(how)
    wait_until(lambda: failed(vm) == ["sub-1", "sub-2"], timeout=30)
    assert run_within(vm, place.limit, seconds=5)["wrong"] == 0
    # There is no third one: memory with one copy only is told, and stays so.
    info = where(vm)
    assert info["single"] == sum(sub_host["remote"] for sub_host in info["sub-hosts"]) > 0


@pytest.mark.nightly
def test_one_that_was_stopped_is_forgotten_and_can_come_again(hosts: Hosts) -> None:
    place = small()
    memservers = [hosts.start_memserver(ROOMY) for _ in range(3)]
    vm = split(hosts, place, memservers)
    lose(vm, memservers[0], signal.SIGSTOP)
    aim = sub_hosts(place, memservers)
    with pytest.raises(QmpCommandError, match="sub-1 has failed"):
        vm.qmp("smemv-rebalance", main_limit=place.limit, sub_hosts=aim)
    memservers[0].process.send_signal(signal.SIGCONT)
    wait_until(lambda: not failed(vm), timeout=30)
    assert memservers[0].stat()["sessions"] == []
    vm.qmp("smemv-rebalance", main_limit=place.limit, sub_hosts=aim)
    wait_until(lambda: redundant(vm), timeout=60)
    assert run_within(vm, place.limit, seconds=5)["wrong"] == 0
    vm.qmp("stop")
    check_sum(vm, memservers)


def test_one_that_has_the_only_copy_is_waited_for(hosts: Hosts) -> None:
    """Before the copies are made again that another one took along."""
    place = small(2)
    memservers = [hosts.start_memserver(ROOMY) for _ in range(3)]
    vm = split(hosts, place, memservers)
    run_within(vm, place.limit, seconds=2)
    for memserver in memservers[:2]:
        memserver.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: len(failed(vm)) == 1, timeout=30)
    time.sleep(3)
    info = where(vm)
    assert len(failed(vm)) == 1
    assert info["single"] > 0
    (back,) = [memserver for memserver in memservers[:2] if memserver.name not in failed(vm)]
    back.process.send_signal(signal.SIGCONT)
    wait_until(lambda: redundant(vm), timeout=60)
    assert run_within(vm, place.limit, seconds=3)["wrong"] == 0


def test_copies_are_in_different_failure_domains(hosts: Hosts) -> None:
    place = small()
    memservers = [hosts.start_memserver(ROOMY) for _ in range(4)]
    source = hosts.running_vm(place)
    vm = hosts.vm(place, incoming=True)
    source.set_capabilities("return-path")
    same = {f"sub_{number}": "rack" for number in range(1, 5)}
    with pytest.raises(QmpCommandError, match="different failure domains"):
        source.qmp(
            "smemv-set-target", name="test", main_limit=place.limit, replicas=2,
            sub_hosts=sub_hosts(place, memservers, **same),
        )  # fmt: skip
    two = {"sub_1": "left", "sub_2": "left", "sub_3": "right", "sub_4": "right"}
    source.qmp(
        "smemv-set-target", name="test", main_limit=place.limit, replicas=2,
        sub_hosts=sub_hosts(place, memservers, **two),
    )  # fmt: skip
    source.migrate_to(vm)
    source.stop()
    run_within(vm, place.limit, seconds=3)
    # A whole domain may be lost.
    for memserver in memservers[:2]:
        memserver.stop()
    wait_until(lambda: failed(vm) == ["sub-1", "sub-2"], timeout=30)
    assert run_within(vm, place.limit, seconds=5)["wrong"] == 0


def test_it_is_made_whole(hosts: Hosts) -> None:
    place = small(2)
    memservers = [hosts.start_memserver(ROOMY) for _ in range(3)]
    vm = split(hosts, place, memservers)
    lose(vm, memservers[1], signal.SIGSTOP)
    vm.qmp("smemv-rebalance", main_limit=place.memory, sub_hosts=[])
    wait_until(lambda: where(vm)["state"] == "whole", timeout=60)
    for memserver in (memservers[0], memservers[2]):
        assert memserver.stat()["sessions"] == []
    assert vm.run_guest(3)["wrong"] == 0
    # It is told of that when it is back.
    memservers[1].process.send_signal(signal.SIGCONT)
    wait_until(lambda: memservers[1].stat()["sessions"] == [], timeout=60)


def test_a_sub_host_is_lost_while_the_vm_is_split(hosts: Hosts) -> None:
    place = small()
    memservers = [hosts.start_memserver(ROOMY) for _ in range(3)]
    source = hosts.running_vm(place)
    destination = hosts.vm(place, incoming=True)
    set_target(source, "test", place.memory, place.limit, memservers, replicas=2)
    source.qmp("migrate-set-parameters", max_bandwidth=16 * MIB)
    source.qmp("migrate", uri=destination.listen())
    wait_until(lambda: memservers[0].stat()["used"] > 4 * MIB)
    memservers[0].stop()
    assert source.wait_for_migration(timeout=60)["status"] == "failed"
    assert where(source)["state"] == "whole"
    assert source.run_guest(2)["wrong"] == 0


def begin_to_move(hosts: Hosts, place: Place, vm: Vm, lost: Memserver) -> Vm:
    """It has begun to, slowly, when that sub-host is lost; returns the destination."""
    destination = hosts.vm(place, incoming=True)
    vm.set_capabilities("return-path")
    vm.qmp("migrate-set-parameters", max_bandwidth=8 * MIB)
    vm.qmp("migrate", uri=destination.listen())
    wait_until(lambda: vm.qmp("query-migrate").get("ram", {}).get("transferred", 0) > 8 * MIB)
    lost.stop()
    wait_until(lambda: failed(vm) == [lost.name], timeout=30)
    return destination


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_sub_host_is_lost_while_the_split_vm_moves(hosts: Hosts, number: int) -> None:
    """The one that decides who runs the VM, or another one."""
    place = small(2)
    memservers = [hosts.start_memserver(ROOMY) for _ in range(3)]
    first = split(hosts, place, memservers)
    run_within(first, place.limit, seconds=3)
    lost = memservers[number]
    second = begin_to_move(hosts, place, first, lost)
    first.qmp("migrate-set-parameters", max_bandwidth=0)
    assert first.wait_for_migration(timeout=60)["status"] == "completed"
    first.stop()
    assert run_within(second, place.limit, seconds=5)["wrong"] == 0
    wait_until(lambda: redundant(second), timeout=60)
    second.qmp("stop")
    check_sum(second, [memserver for memserver in memservers if memserver is not lost])


def test_a_sub_host_that_was_lost_before_a_move_was_cancelled_stays_unused(hosts: Hosts) -> None:
    """It is back with nothing, and gets no session of this VM."""
    place = small(2)
    memservers = [hosts.start_memserver(ROOMY) for _ in range(3)]
    vm = split(hosts, place, memservers)
    begin_to_move(hosts, place, vm, memservers[0])
    back = hosts.start_memserver(ROOMY, memservers[0].port)
    vm.qmp("migrate_cancel")
    assert vm.wait_for_migration(timeout=60)["status"] == "cancelled"
    settle(vm)
    wait_until(lambda: redundant(vm), timeout=60)
    assert run_within(vm, place.limit, seconds=5)["wrong"] == 0
    check_empty([back])
    vm.qmp("stop")
    check_sum(vm, memservers[1:])


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.nightly) for seed in (1, 2)])
def test_all_operations_with_two_copies_that_are_sealed(
    hosts: Hosts, main_host: list[str], start_with_tls: Callable[[], Memserver], seed: int
) -> None:
    memservers = [start_with_tls() for _ in range(5)]
    journey = Journey(hosts, small(2), seed, main_host, memservers, seal=True, replicas=2)
    for number in range(5):
        print(f"{number}: {journey.step()}: {[memserver.name for memserver in journey.used]}")
        if journey.used:
            wait_until(lambda: redundant(journey.vm))
        journey.check()
    if not journey.used:
        journey.move()
        settle(journey.vm)
    lose(journey.vm, journey.used[0], signal.SIGKILL)
    assert run_within(journey.vm, journey.limit, seconds=5)["wrong"] == 0
