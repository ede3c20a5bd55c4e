# SPDX-License-Identifier: GPL-3.0-or-later
"""Split migrations: the guest's memory is right, under the limit, and where it should be."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpError

from tests.native.full_host import limit_memory
from tests.qemu import guests
from tests.qemu.hosts import Hosts, Place, bare, linux
from tests.qemu.split import MIB, PAGE, check_sum, run_within, set_target, shares, wait_until, where
from tests.qemu.vm import Vm

pytestmark = pytest.mark.qemu

# Connections to a memserver, of a source with one sender, and of a destination that is there as a whole.
ATTACHED = 2 + 5


@pytest.mark.parametrize("vcpus", [pytest.param(1, marks=pytest.mark.nightly), 2])
def test_linux_guest_runs_on_under_tcg(hosts: Hosts, vcpus: int) -> None:
    place = linux(vcpus)
    source, destination, memservers = hosts.split(place)
    assert source.run_state() == "postmigrate"
    before = where(destination)
    status = run_within(destination, place.limit, seconds=20)
    assert status["wrong"] == 0
    assert status["accesses"] > 0
    info = where(destination)
    assert info["pages-in"] > before["pages-in"]
    assert info["pages-out"] > before["pages-out"]
    destination.qmp("stop")
    check_sum(destination, memservers)


@pytest.mark.kvm
def test_bare_guest_runs_on_under_kvm(hosts: Hosts) -> None:
    place = bare()
    _, destination, memservers = hosts.split(place)
    status = run_within(destination, place.limit, seconds=20)
    assert status["wrong"] == 0
    info = where(destination)
    assert info["pages-in"] > 0
    assert info["pages-out"] > 0
    destination.qmp("stop")
    check_sum(destination, memservers)


def test_each_page_is_sent_before_the_vm_is_stopped(hosts: Hosts) -> None:
    """Though all of it could be sent in the time for which it may be stopped."""
    place = Place(guests.linux("smemv.fill=128M smemv.rate=10"), 256 * MIB, 96 * MIB)
    source = hosts.running_vm(place)
    destination = hosts.vm(place, incoming=True)
    set_target(source, "test", place.memory, place.limit, hosts.memservers(place, 2), policy="threshold")
    # What is sent while the VM is stopped is sent as fast as can be.
    state = source.migrate_to(destination, downtime_limit=60000, max_bandwidth=32 * MIB)
    assert state["total-time"] - state["setup-time"] > 128 / 32 * 1000
    assert state["downtime"] < 1000


def test_vm_is_stopped_for_what_it_dirties_in_a_short_pass(hosts: Hosts) -> None:
    """Though all that it dirties in the first, long one could be sent in the time for which it may be stopped."""
    place = Place(guests.linux("smemv.fill=256M smemv.writes=100 smemv.rate=5000"), 384 * MIB, 128 * MIB)
    source = hosts.running_vm(place)
    destination = hosts.vm(place, incoming=True)
    set_target(source, "test", place.memory, place.limit, hosts.memservers(place, 2), policy="threshold")
    state = source.migrate_to(destination, downtime_limit=5000, max_bandwidth=64 * MIB)
    assert state["ram"]["downtime-bytes"] < 6 * MIB
    assert run_within(destination, place.limit, seconds=2)["wrong"] == 0


def test_pages_of_the_main_host_come_without_a_fault(hosts: Hosts) -> None:
    place = Place(guests.linux("smemv.fill=128M smemv.rate=10"), 256 * MIB, 192 * MIB)
    source = hosts.running_vm(place)
    destination = hosts.vm(place, incoming=True)
    set_target(source, "test", place.memory, place.limit, hosts.memservers(place, 2), policy="threshold")
    before = faults(destination)
    source.migrate_to(destination)
    there = where(destination)["resident"] // PAGE
    assert there > 128 * MIB // PAGE // 2
    assert faults(destination) - before < there // 2
    assert run_within(destination, place.limit, seconds=2)["wrong"] == 0


def test_what_is_written_before_a_page_is_sent_does_not_send_it_twice(hosts: Hosts) -> None:
    place = Place(guests.linux("smemv.fill=384M smemv.rate=1000 smemv.writes=100"), 512 * MIB, 192 * MIB)
    source = hosts.running_vm(place)
    destination = hosts.vm(place, incoming=True)
    set_target(source, "test", place.memory, place.limit, hosts.memservers(place, 2), policy="threshold")
    before = source.guest_status()["accesses"]
    ram = source.migrate_to(destination, max_bandwidth=64 * MIB)["ram"]
    written = destination.run_guest(1)["accesses"] - before
    again = ram["normal"] + ram["duplicate"] - ram["total"] // PAGE
    # Half of what is written was sent before. The rest would be sent twice, but for what is written just before that.
    assert again < 0.65 * written, f"{again} pages sent again, {written} were written"
    assert run_within(destination, place.limit, seconds=2)["wrong"] == 0


def faults(vm: Vm) -> int:
    """How often the kernel has had to give a VM's process memory that it touched."""
    return int(Path(f"/proc/{vm.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[7])


def test_limit_can_be_lowered_and_raised(hosts: Hosts) -> None:
    place = linux()
    source = hosts.running_vm(place)
    destination = hosts.vm(place, incoming=True)
    lowest = 96 * MIB
    memservers = [hosts.start_memserver(share) for share in shares(place.memory, lowest, 2)]
    set_target(source, "test", place.memory, lowest, memservers)
    source.migrate_to(destination)
    destination.qmp("smemv-set-limit", limit=place.limit)
    assert run_within(destination, place.limit, seconds=5)["wrong"] == 0
    assert where(destination)["resident"] > lowest
    destination.qmp("smemv-set-limit", limit=lowest)
    wait_until(lambda: destination.resident() <= lowest)
    assert run_within(destination, lowest, seconds=5)["wrong"] == 0


def test_pages_come_in_at_a_rate_when_the_limit_rises(hosts: Hosts) -> None:
    place = linux()
    source = hosts.running_vm(place)
    destination = hosts.vm(place, incoming=True)
    lowest, rate = 96 * MIB, 16 * MIB
    memservers = [hosts.start_memserver(share) for share in shares(place.memory, lowest, 2)]
    set_target(source, "test", place.memory, lowest, memservers)
    source.migrate_to(destination)
    # Nothing faults any more, and what was on its way out is there: it would leave room that is not filled again.
    destination.qmp("stop")
    check_sum(destination, memservers)
    before = where(destination)["resident"]
    began = time.monotonic()
    destination.qmp("smemv-set-limit", limit=place.limit, max_bandwidth=rate)
    wait_until(lambda: where(destination)["resident"] >= place.limit // 32 * 31)
    moved = where(destination)["resident"] - before
    assert time.monotonic() - began > 0.9 * moved / rate
    assert destination.resident() <= place.limit
    check_sum(destination, memservers)
    # And down again while they come in.
    destination.qmp("smemv-set-limit", limit=lowest)
    wait_until(lambda: destination.resident() <= lowest)
    destination.qmp("smemv-set-limit", limit=place.limit, max_bandwidth=rate)
    destination.qmp("smemv-set-limit", limit=lowest)
    destination.qmp("cont")
    wait_until(lambda: destination.resident() <= lowest)
    assert run_within(destination, lowest, seconds=3)["wrong"] == 0


def test_limit_that_the_reservations_do_not_cover_is_refused(hosts: Hosts) -> None:
    place = linux()
    _, destination, _ = hosts.split(place)
    with pytest.raises(QmpError, match="have reserved"):
        destination.qmp("smemv-set-limit", limit=place.limit - 32 * MIB)
    assert where(destination)["limit"] == place.limit


def test_end_of_the_vm_releases_the_sub_hosts(hosts: Hosts) -> None:
    _, destination, memservers = hosts.split(linux())
    assert all(memserver.stat()["reserved"] > 0 for memserver in memservers)
    destination.qmp("quit")
    assert destination.process.wait(timeout=30) == 0
    assert [memserver.stat()["sessions"] for memserver in memservers] == [[], []]
    assert [memserver.stat()["reserved"] for memserver in memservers] == [0, 0]


@pytest.mark.parametrize("full", [0, 1])
def test_memserver_without_room_is_refused_first(hosts: Hosts, full: int) -> None:
    place = linux()
    source = hosts.running_vm(place)
    destination = hosts.vm(place, incoming=True)
    memservers = [hosts.start_memserver(64 * MIB if number == full else place.memory) for number in range(2)]
    set_target(source, "test", place.memory, place.limit, memservers)
    source.qmp("migrate", uri=destination.listen())
    state = source.wait_for_migration(timeout=60)
    assert state["status"] == "failed"
    assert memservers[full].name in state["error-desc"]
    assert "NO_SPACE" in state["error-desc"]
    assert source.run_guest(2)["wrong"] == 0
    assert memservers[1 - full].stat()["sessions"] == []


def test_host_that_has_less_memory_than_its_memserver_grants(hosts: Hosts) -> None:
    # A memserver gets its memory in pieces of a GiB; of the second one there is nothing.
    place = Place(guests.linux("smemv.fill=384M smemv.rate=20000"), 1536 * MIB, 192 * MIB)
    source, destination = hosts.running_vm(place), hosts.vm(place, incoming=True)
    memserver = hosts.start_memserver(place.memory)
    limit_memory(memserver.process.pid, 1028 * MIB)
    set_target(source, "test", place.memory, place.limit, [memserver], policy="threshold")
    source.qmp("migrate", uri=destination.listen())
    state = source.wait_for_migration(timeout=60)
    assert state["status"] == "failed"
    assert memserver.name in state["error-desc"]
    assert "no memory for the reservation" in state["error-desc"]
    assert source.run_guest(2)["wrong"] == 0
    wait_until(lambda: memserver.stat()["reserved"] == 0)
    limit_memory(memserver.process.pid, None)
    destination = hosts.vm(place, incoming=True)
    set_target(source, "test", place.memory, place.limit, [memserver], policy="threshold")
    source.migrate_to(destination)
    assert run_within(destination, place.limit, seconds=2)["wrong"] == 0
    destination.qmp("stop")
    check_sum(destination, [memserver])


def test_precopy_goes_on_while_a_memserver_makes_memory_ready(hosts: Hosts) -> None:
    # Which takes it a second, in which it is stopped. What the guest uses goes to the main host.
    place = Place(guests.linux("smemv.fill=256M smemv.rate=10"), 4096 * MIB, 512 * MIB)
    source, destination = hosts.running_vm(place), hosts.vm(place, incoming=True)
    memserver = hosts.start_memserver(place.memory)
    set_target(source, "test", place.memory, place.limit, [memserver], policy="hot", sample_time=100)
    source.begin_migration(destination)
    wait_until(lambda: [session["connections"] for session in memserver.stat()["sessions"]] == [ATTACHED])
    memserver.process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: source.qmp("query-migrate").get("ram", {}).get("remaining") == 0)
        assert source.run_guest(2)["wrong"] == 0
    finally:
        memserver.process.send_signal(signal.SIGCONT)
    source.complete_migration(destination, timeout=60)
    assert run_within(destination, place.limit, seconds=2)["wrong"] == 0


@pytest.mark.parametrize("victim", ["memserver", "destination"])
def test_loss_during_the_migration_leaves_the_vm_on_the_source(hosts: Hosts, victim: str) -> None:
    place = linux()
    source = hosts.running_vm(place)
    destination = hosts.vm(place, incoming=True)
    memservers = hosts.memservers(place, 2)
    set_target(source, "test", place.memory, place.limit, memservers)
    # Slow enough to be on the way when the victim dies.
    source.qmp("migrate-set-parameters", max_bandwidth=64 * MIB)
    source.qmp("migrate", uri=destination.listen())
    lost = memservers[0] if victim == "memserver" else destination
    survivors = memservers[1:] if victim == "memserver" else memservers
    wait_until(lambda: survivors[-1].stat()["used"] > 0)
    lost.stop()
    assert source.wait_for_migration(timeout=60)["status"] == "failed"
    before = source.guest_status()["accesses"]
    status = source.run_guest(3)
    assert status["wrong"] == 0
    assert status["accesses"] > before
    assert where(source)["state"] == "whole"
    for survivor in survivors:
        wait_until(lambda survivor=survivor: survivor.stat()["sessions"] == [])


def test_pages_go_by_several_connections(hosts: Hosts) -> None:
    """The guest writes meanwhile: of a page that is sent twice, the second counts."""
    place = linux()
    source, destination = hosts.running_vm(place), hosts.vm(place, incoming=True)
    memservers = hosts.memservers(place, 2)
    set_target(source, "test", place.memory, place.limit, memservers, connections=16)
    source.qmp("migrate-set-parameters", max_bandwidth=64 * MIB)
    source.qmp("migrate", uri=destination.listen())
    wait_until(lambda: memservers[1].stat()["used"] > 0)
    # The destination has some of its own there.
    assert all(session["connections"] >= 16 for memserver in memservers for session in memserver.stat()["sessions"])
    source.qmp("migrate-set-parameters", max_bandwidth=0)
    assert source.wait_for_migration(timeout=60)["status"] == "completed"
    assert run_within(destination, place.limit, seconds=5)["wrong"] == 0
    destination.qmp("stop")
    check_sum(destination, memservers)


def test_cancelled_migration_can_be_made_again(hosts: Hosts) -> None:
    place = linux()
    source = hosts.running_vm(place)
    memservers = hosts.memservers(place, 2)
    set_target(source, "test", place.memory, place.limit, memservers)
    source.qmp("migrate-set-parameters", max_bandwidth=64 * MIB)
    source.qmp("migrate", uri=hosts.vm(place, incoming=True).listen())
    wait_until(lambda: memservers[0].stat()["used"] > 0)
    source.qmp("migrate_cancel")
    assert source.wait_for_migration(timeout=60)["status"] == "cancelled"
    wait_until(lambda: [memserver.stat()["sessions"] for memserver in memservers] == [[], []])
    destination = hosts.vm(place, incoming=True)
    set_target(source, "test", place.memory, place.limit, memservers)
    source.migrate_to(destination)
    assert run_within(destination, place.limit, seconds=5)["wrong"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"main_limit": 192 * MIB + 1}, "multiple of 4096"),
        ({"main_limit": 32 * MIB}, "at least 64 MiB"),
        ({"name": "a b"}, "is no name"),
        ({"name": ""}, "is no name"),
        ({"sub_hosts": []}, "must be at least"),
        ({"connections": 0}, "from 1 to 16"),
        ({"connections": 17}, "from 1 to 16"),
        ({"sub_hosts": [{"name": "a", "host": "", "port": 1, "share": PAGE}]}, "no address"),
        ({"sub_hosts": [{"name": "a", "host": "h", "port": 0, "share": PAGE}]}, "no address or port"),
        ({"sub_hosts": [{"name": "a", "host": "h", "port": 1, "share": 100}]}, "no multiple"),
        ({"sub_hosts": [{"name": "a", "host": "h", "port": 1, "share": PAGE}]}, "must be at least"),
    ],
)
def test_bad_target_is_refused(hosts: Hosts, change: dict[str, object], message: str) -> None:
    vm = hosts.vm(linux())
    good = {
        "name": "test",
        "main_limit": 192 * MIB,
        "sub_hosts": [{"name": "a", "host": "127.0.0.1", "port": 4770, "share": 512 * MIB}],
    }
    with pytest.raises(QmpError, match=message):
        vm.qmp("smemv-set-target", **{**good, **change})
    vm.qmp("smemv-set-target", **good)


@pytest.mark.parametrize(
    ("devices", "reason"),
    [
        (["-object", "memory-backend-memfd,id=ram,size=512M,share=on", "-machine", "memory-backend=ram"], "is shared"),
        (["-overcommit", "mem-lock=on"], "is locked"),
    ],
)
def test_vm_that_cannot_be_split_says_why(hosts: Hosts, devices: list[str], reason: str) -> None:
    check_blocked(hosts.vm(linux(), devices=devices), reason)


def test_vm_with_a_vhost_user_device_cannot_be_split(hosts: Hosts, socket_folder: Path) -> None:
    socket = socket_folder / "backend"
    disk = socket_folder / "disk"
    disk.touch()
    os.truncate(disk, MIB)
    blockdev = f"driver=file,node-name=disk,filename={disk}"
    export = f"type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={socket}"
    with subprocess.Popen(["qemu-storage-daemon", "--blockdev", blockdev, "--export", export]) as backend:
        try:
            wait_until(socket.exists)
            ram = ["-object", "memory-backend-memfd,id=ram,size=512M,share=on", "-machine", "memory-backend=ram"]
            device = ["-chardev", f"socket,id=c0,path={socket}", "-device", "vhost-user-blk-pci,chardev=c0,id=fast"]
            check_blocked(hosts.vm(linux(), devices=[*ram, *device]), "device fast (vhost-user-blk-pci)")
        finally:
            backend.kill()


def check_blocked(vm: Vm, reason: str) -> None:
    """The VM must say that reason, and refuse to be split."""
    assert any(reason in sentence for sentence in where(vm)["blocked"])
    with pytest.raises(QmpError, match="cannot be split"):
        vm.qmp(
            "smemv-set-target",
            name="test",
            main_limit=192 * MIB,
            sub_hosts=[{"name": "a", "host": "127.0.0.1", "port": 4770, "share": 512 * MIB}],
        )


@pytest.mark.parametrize("capability", ["multifd", "xbzrle", "postcopy-ram"])
def test_capability_that_does_not_go_together_is_refused(hosts: Hosts, capability: str) -> None:
    place = linux()
    source = hosts.vm(place)
    set_target(source, "test", place.memory, place.limit, hosts.memservers(place, 1))
    source.set_capabilities(capability)
    with pytest.raises(QmpError, match=capability):
        source.qmp("migrate", uri="tcp:127.0.0.1:1")
