# SPDX-License-Identifier: GPL-3.0-or-later
"""A split migration uses the links of all its hosts side by side, each as much as it carries."""

from __future__ import annotations

import signal
import time

import pytest

from tests.qemu import guests
from tests.qemu.hosts import Hosts, Place
from tests.qemu.memserver import Memserver
from tests.qemu.split import MIB, check_sum, run_within, set_target, wait_until, where
from tests.qemu.vm import Vm

pytestmark = pytest.mark.qemu

PLACE = Place(guests.linux("smemv.fill=160M smemv.rate=20000"), 256 * MIB, 96 * MIB)
SLOWLY = 16 * MIB  # bytes a second
HARDLY = 1 * MIB  # bytes a second: most is still to come, however long the destination takes to begin
# What a sub-host's sender holds, and what is on the link.
UNDER_WAY = 8 * MIB


def used(memserver: Memserver) -> int:
    return memserver.stat()["used"]


def wait_until_nothing_is_sent(source: Vm, what: str = "transferred") -> None:
    seen = []

    def sent_nothing() -> bool:
        time.sleep(0.5)
        seen.append(source.qmp("query-migrate")["ram"][what])
        return len(seen) > 3 and seen[-1] == seen[-4]

    wait_until(sent_nothing)


def test_sub_hosts_are_sent_to_while_the_main_hosts_pages_are(hosts: Hosts) -> None:
    source, destination = hosts.running_vm(PLACE), hosts.vm(PLACE, incoming=True)
    memservers = hosts.memservers(PLACE, 2)
    # The lowest addresses stay on the main host, and precopy begins with these.
    set_target(source, "test", PLACE.memory, PLACE.limit, memservers, policy="threshold")
    source.qmp("migrate-set-parameters", max_bandwidth=SLOWLY)
    source.qmp("migrate", uri=destination.listen())
    wait_until(lambda: all(used(memserver) > MIB for memserver in memservers))
    assert source.qmp("query-migrate")["ram"]["remaining"] > PLACE.memory - 32 * MIB
    source.qmp("migrate-set-parameters", max_bandwidth=0)
    assert source.wait_for_migration(timeout=120)["status"] == "completed"
    # What is stored is divided as the shares are, however many of the pages are zero.
    first, second = (sub_host["remote"] for sub_host in where(destination)["sub-hosts"])
    assert abs(first - second) < 0.2 * (first + second)
    assert run_within(destination, PLACE.limit, seconds=2)["wrong"] == 0
    destination.qmp("stop")
    check_sum(destination, memservers)


def test_what_a_sub_host_does_not_take_goes_to_another(hosts: Hosts) -> None:
    source, destination = hosts.running_vm(PLACE), hosts.vm(PLACE, incoming=True)
    slow, fast = memservers = [hosts.start_memserver(PLACE.memory) for _ in range(2)]
    set_target(source, "test", PLACE.memory, PLACE.limit, memservers, policy="threshold")
    source.qmp("migrate-set-parameters", max_bandwidth=HARDLY)
    source.qmp("migrate", uri=destination.listen())
    # It needs an answer of both before it takes anything.
    wait_until(lambda: where(destination)["state"] == "incoming")
    wait_until(lambda: used(slow) > 0)
    before = used(fast)
    # Both are full for a while: what comes next waits for the one that goes on, not for either.
    for memserver in memservers:
        memserver.process.send_signal(signal.SIGSTOP)
    source.qmp("migrate-set-parameters", max_bandwidth=0)
    wait_until_nothing_is_sent(source)
    fast.process.send_signal(signal.SIGCONT)
    wait_until(lambda: used(fast) > before + 4 * UNDER_WAY)
    slow.process.send_signal(signal.SIGCONT)
    assert source.wait_for_migration(timeout=120)["status"] == "completed"
    assert all(sub_host["remote"] <= sub_host["share"] for sub_host in where(destination)["sub-hosts"])
    assert run_within(destination, PLACE.limit, seconds=2)["wrong"] == 0
    destination.qmp("stop")
    check_sum(destination, memservers)


def test_a_vm_is_not_paused_for_what_a_sub_host_has_yet_to_store(hosts: Hosts) -> None:
    # So few pages are for the sub-host that all of them fit on their way there.
    place = Place(guests.linux("smemv.fill=64M smemv.rate=20000"), 256 * MIB, 255 * MIB)
    source, destination = hosts.running_vm(place), hosts.vm(place, incoming=True)
    memserver = hosts.start_memserver(place.memory)
    set_target(source, "test", place.memory, place.limit, [memserver], policy="random")
    # By that, all that is left could be sent at once.
    source.qmp("migrate-set-parameters", max_bandwidth=HARDLY, avail_switchover_bandwidth=1024 * MIB)
    source.qmp("migrate", uri=destination.listen())
    wait_until(lambda: used(memserver) > 0)
    memserver.process.send_signal(signal.SIGSTOP)
    source.qmp("migrate-set-parameters", max_bandwidth=0)
    # The stream's sections have heads, which are sent on.
    wait_until_nothing_is_sent(source, "normal")
    assert source.qmp("query-status")["running"]
    memserver.process.send_signal(signal.SIGCONT)
    assert source.wait_for_migration(timeout=120)["status"] == "completed"
    assert run_within(destination, place.limit, seconds=2)["wrong"] == 0
    destination.qmp("stop")
    check_sum(destination, [memserver])
