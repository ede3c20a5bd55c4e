# SPDX-License-Identifier: GPL-3.0-or-later
"""Without any S-memV setting the patched QEMU is the stock one: both migrate to each other, and nothing changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.qemu import guests
from tests.qemu.guests import Guest
from tests.qemu.vm import Vm

pytestmark = pytest.mark.qemu

MAC = "52:54:00:5e:3e:01"
DISK_SECTORS = 81920


def devices(disk: Path) -> list[str]:
    """A disk and a network card, the same on both sides."""
    drive = ["-drive", f"file={disk},format=raw,if=none,id=disk0,cache=none", "-device", "virtio-blk-pci,drive=disk0"]
    card = ["-netdev", "user,id=net0", "-device", f"virtio-net-pci,netdev=net0,mac={MAC},romfile="]
    return [*drive, *card]


def migrate_through(binaries: list[Path], start_vm: Callable[..., Vm], guest: Guest, **options: object) -> list[Vm]:
    """Start a VM with the first binary and migrate it to each next one, running in between; returns all."""
    vms = [start_vm(binaries[0], guest, **options)]
    vms[0].wait_for_guest(lambda status: status["phase"] == "run" and status["accesses"] > 0, timeout=120)
    for binary in binaries[1:]:
        vms.append(start_vm(binary, guest, incoming=True, **options))
        vms[-2].migrate_to(vms[-1])
        vms[-2].stop()
        assert vms[-1].run_guest(6)["wrong"] == 0
    return vms


@pytest.mark.parametrize("vcpus", [pytest.param(1, marks=pytest.mark.nightly), 2])
def test_there_and_back_under_tcg(
    patched: Path, stock: Path, start_vm: Callable[..., Vm], tmp_path: Path, vcpus: int
) -> None:
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, DISK_SECTORS * 512)
    guest = guests.linux("smemv.fill=256M smemv.rate=5000")
    options = {"memory": "512M", "vcpus": vcpus, "devices": devices(disk)}
    vms = migrate_through([patched, stock, patched], start_vm, guest, **options)
    expected = {"cpus": str(vcpus), "disks": f"vda={DISK_SECTORS}", "cards": f"eth0={MAC}"}
    configs = [vm.wait_for_config() for vm in vms]
    assert configs == [{**expected, "memory_kb": configs[0]["memory_kb"]}] * len(vms)


@pytest.mark.kvm
def test_there_and_back_under_kvm(patched: Path, stock: Path, start_vm: Callable[..., Vm]) -> None:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no /dev/kvm that can be used")
    migrate_through([patched, stock, patched], start_vm, guests.bare("smemv.fill=8"), memory="64M", accel="kvm")
