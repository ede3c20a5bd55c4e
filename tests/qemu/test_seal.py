# SPDX-License-Identifier: GPL-3.0-or-later
"""A split VM whose sub-hosts can neither read, swap nor replay its pages."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpError

from tests.native import wire_client as wire
from tests.qemu.hosts import Hosts, encrypt, small
from tests.qemu.memserver import HOST, Memserver
from tests.qemu.split import MIB, PAGE, run_within, set_target, shares, wait_until, where
from tests.qemu.tap import Tap
from tests.qemu.test_moves import Journey, settle
from tests.qemu.vm import Vm

pytestmark = pytest.mark.qemu

# Pages that are tampered with: enough for the guest to touch one soon.
MANY = 4096
# As in seal.c.
GENERATION_BITS = 48

Pages = dict[int, tuple[int, bytes]]  # by number: checksum and content, as they are stored


class Tapped:
    """A VM that is split onto one memserver, whose operator listens in and writes."""

    def __init__(self, hosts: Hosts, devices: list[str], tap: Tap, memserver: Memserver, seal: bool) -> None:
        self.place = small()
        self.memserver = memserver
        self._tap = tap
        self.source = hosts.running_vm(self.place, devices)
        self.vm = hosts.vm(self.place, incoming=True, devices=devices)
        (share,) = shares(self.place.memory, self.place.limit, 1)
        self.source.qmp(
            "smemv-set-target", name="test", main_limit=self.place.limit, seal=seal,
            sub_hosts=[dict(memserver.sub_host(share), port=tap.port)],
        )  # fmt: skip
        self.source.set_capabilities("return-path")
        encrypt(self.source, self.vm)
        self.source.migrate_to(self.vm)

    def pause(self) -> None:
        """Pause the VM, and wait until nothing moves any more."""
        self.vm.qmp("stop")
        before = None
        while (info := where(self.vm)) != before:
            before = info
            time.sleep(0.3)

    def read(self) -> Pages:
        """What the memserver stores."""
        found: Pages = {}
        with self._pose() as connection:
            for first in range(0, self.place.memory // PAGE, wire.MAX_PAGES):
                response = connection.get(first, wire.MAX_PAGES)
                assert response.status == wire.OK, response.text
                offset = wire.MAX_PAGES * wire.ENTRY.size
                for number in range(wire.MAX_PAGES):
                    flags, crc = wire.ENTRY.unpack_from(response.payload, number * wire.ENTRY.size)
                    if flags:
                        found[first + number] = (crc, response.payload[offset : offset + PAGE])
                        offset += PAGE
        return found

    def write(self, pages: Pages) -> None:
        with self._pose() as connection:
            for number, (crc, content) in pages.items():
                assert connection.put(number, [content], [crc]).status == wire.OK

    def _pose(self) -> wire.Connection:
        (session,) = self.memserver.stat()["sessions"]
        return self._tap.pose_as_the_vm(session["epoch"])


@pytest.fixture
def split_tapped(hosts: Hosts, main_host: list[str]) -> Iterator[Callable[[bool], Tapped]]:
    memserver = hosts.start_memserver(512 * MIB)
    with Tap(HOST, memserver.port) as tap:
        yield lambda seal: Tapped(hosts, main_host, tap, memserver, seal)


def guest_memory(vm: Vm, numbers: set[int]) -> dict[int, bytes]:
    start = vm.ram_addresses().start
    with open(f"/proc/{vm.process.pid}/mem", "rb", buffering=0) as memory:
        pages = {}
        for number in numbers:
            memory.seek(start + number * PAGE)
            pages[number] = memory.read(PAGE)
    return pages


@pytest.mark.parametrize("seal", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_what_a_memserver_stores(split_tapped: Callable[[bool], Tapped], seal: bool) -> None:
    tapped = split_tapped(seal)
    tapped.pause()
    assert where(tapped.vm)["sealed"] is seal
    stored = tapped.read()
    # What the guest has not changed since is the same in its source, which has ended its work and is still there.
    before = guest_memory(tapped.source, set(stored))
    known = {page for page in before.values() if any(page)}
    read = sum(content in known for _, content in stored.values())
    assert len(stored) > MANY
    assert read == 0 if seal else read > len(stored) // 2


@pytest.mark.parametrize("attack", ["swapped", "replayed"])
def test_what_was_tampered_with_ends_the_vm(split_tapped: Callable[[bool], Tapped], attack: str) -> None:
    tapped = split_tapped(True)
    tapped.pause()
    old = tapped.read()
    if attack == "swapped":
        numbers = list(old)[:MANY]
        wrong = {number: old[other] for number, other in zip(numbers, numbers[1:] + numbers[:1])}
    else:
        # First all leave that are here now; then those that came from the memserver.
        out = where(tapped.vm)["pages-out"] + tapped.place.limit // PAGE + MANY
        tapped.vm.qmp("cont")
        wait_until(lambda: where(tapped.vm)["pages-out"] > out, timeout=120)
        tapped.pause()
        new = tapped.read()
        wrong = {number: old[number] for number in old.keys() & new.keys() if old[number] != new[number]}
    assert len(wrong) >= 100
    tapped.write(wrong)
    # It may end before it has answered.
    with contextlib.suppress(QmpError):
        tapped.vm.qmp("cont")
    assert tapped.vm.process.wait(timeout=60) == 1
    # Two threads may meet one each before the process has ended, by single pages or by runs.
    lines = [line for line in tapped.vm.log().splitlines() if "does not open" in line]
    (session,) = tapped.memserver.stat()["sessions"]
    assert lines
    for line in lines:
        assert int(line.split(" returns of page ")[1].split()[0], 16) // PAGE in wrong
        assert tapped.memserver.name in line
        assert session["id"] in line
    assert not tapped.vm.wrong_lines()


def check_not_sealed_in_plain(vm: Vm, destination: Vm) -> None:
    with pytest.raises(QmpError, match="set the migration parameter tls-creds"):
        vm.qmp("migrate", uri=destination.listen())
    assert vm.run_guest(1)["wrong"] == 0


def test_plain_stream_is_refused(hosts: Hosts, main_host: list[str]) -> None:
    place = small()
    memserver = hosts.start_memserver(512 * MIB)
    source = hosts.running_vm(place, main_host)
    destination = hosts.vm(place, incoming=True, devices=main_host)
    set_target(source, "test", place.memory, place.limit, [memserver], seal=True)
    check_not_sealed_in_plain(source, destination)
    assert memserver.stat()["sessions"] == []

    second = hosts.vm(place, incoming=True, devices=main_host)
    encrypt(source, second)
    source.migrate_to(second)
    assert where(second)["sealed"]
    # Once sealed it stays so, with a target or without.
    second.set_capabilities("return-path")
    second.qmp("migrate-set-parameters", tls_creds="")
    check_not_sealed_in_plain(second, hosts.vm(place, incoming=True))
    assert run_within(second, place.limit, seconds=1)["wrong"] == 0


def test_a_vm_that_was_split_otherwise_is_not_sealed(hosts: Hosts) -> None:
    _, vm, memservers = hosts.split(small(), 1)
    place = small()
    with pytest.raises(QmpError, match="split with pages that are not sealed"):
        set_target(vm, "test", place.memory, place.limit, memservers, seal=True)


def test_no_nonce_is_used_twice(
    hosts: Hosts, main_host: list[str], start_with_tls: Callable[[], Memserver]
) -> None:
    """On a way over several main hosts, with moves that fail in between."""
    memservers = [start_with_tls() for _ in range(4)]
    journey = Journey(hosts, small(), 1, [*main_host, "-trace", "smemv_seal"], memservers, seal=True)
    vms = [journey.vm]
    for step in (journey.move, journey.fail, journey.move, journey.fail, journey.move):
        step()
        settle(journey.vm)
        out = where(journey.vm)["pages-out"] + 256
        wait_until(lambda out=out: where(journey.vm)["pages-out"] > out)
        vms += [journey.vm] if journey.vm not in vms else []
    versions = [int(version, 16) for vm in vms for version in re.findall(r"smemv_seal .* version (\w+)", vm.log())]
    assert len({version >> GENERATION_BITS for version in versions}) == len(vms) >= 4
    assert len(set(versions)) == len(versions)
