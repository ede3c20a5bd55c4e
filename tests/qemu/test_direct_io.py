# SPDX-License-Identifier: GPL-3.0-or-later
"""A device reads and writes guest memory while it is evicted: nothing is lost, and what it uses stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.qemu import guests
from tests.qemu.hosts import Hosts, Place
from tests.qemu.pin import pinned
from tests.qemu.split import MIB, run_within, set_target, wait_until, where
from tests.qemu.touch import missing

pytestmark = pytest.mark.qemu


@pytest.mark.parametrize("vcpus", [1, 8])
def test_direct_io_into_memory_that_is_evicted(hosts: Hosts, tmp_path: Path, vcpus: int) -> None:
    """The disk has a thread of its own, so that it faults beside each of the processors."""
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 64 * MIB)
    drive = f"file={disk},if=none,id=d0,format=raw,cache=none,aio=threads"
    devices = ["-object", "iothread,id=t0", "-drive", drive, "-device", "virtio-blk-pci,drive=d0,iothread=t0"]
    guest = guests.linux("smemv.fill=128M smemv.rate=20000 smemv.disk=48M")
    place = Place(guest, 256 * MIB, 96 * MIB, vcpus=vcpus)
    source = hosts.running_vm(place, devices)
    vm = hosts.vm(place, incoming=True, devices=devices)
    set_target(source, "test", place.memory, place.limit, hosts.memservers(place, 2))
    source.migrate_to(vm)
    first = vm.run_guest(1)
    last = run_within(vm, place.limit, seconds=15)
    assert last["wrong"] == 0
    assert last["transfers"] > first["transfers"]


def test_what_a_device_has_pinned_stays(hosts: Hosts) -> None:
    place = Place(guests.linux("smemv.fill=128M smemv.rate=20000"), 256 * MIB, 96 * MIB)
    _source, vm, _memservers = hosts.split(place)
    ram = vm.ram_addresses()
    start, size = ram.start + place.memory // 2, 4 * MIB
    with pinned(vm, start, size):
        # The guest has all of its memory in turn, so that the evictor comes to each page.
        before = where(vm)["pinned"]
        wait_until(lambda: where(vm)["pinned"] > before)
        vm.run_guest(1)
        assert not [address for address in missing(vm) if start <= address < start + size]
    wait_until(lambda: any(start <= address < start + size for address in missing(vm)))
    assert vm.run_guest(1)["wrong"] == 0
