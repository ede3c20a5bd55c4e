# SPDX-License-Identifier: GPL-3.0-or-later
"""The VMs and memservers of a test, all on loopback."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.qemu import guests
from tests.qemu.guests import Guest
from tests.qemu.memserver import Memserver
from tests.qemu.split import MIB, set_target, shares
from tests.qemu.vm import Vm

CREDENTIALS = "smemv-tls"
SERVER_CREDENTIALS = "smemv-tls-server"


def credentials(folder: Path) -> list[str]:
    """Options of a VM that has the certificates in that folder."""
    return ["-object", f"tls-creds-x509,id={CREDENTIALS},dir={folder},endpoint=client,verify-peer=on"]


def server_credentials(folder: Path) -> list[str]:
    """Options of a VM that can be sent a migration stream by TLS."""
    return ["-object", f"tls-creds-x509,id={SERVER_CREDENTIALS},dir={folder},endpoint=server,verify-peer=on"]


def encrypt(source: Vm, destination: Vm, host: str = "main-1") -> None:
    """The migration from one to the other goes by TLS, to the host of that name by its certificate."""
    destination.qmp("migrate-set-parameters", tls_creds=SERVER_CREDENTIALS)
    source.qmp("migrate-set-parameters", tls_creds=CREDENTIALS, tls_hostname=host)


@dataclass
class Place:
    """A guest and what is allowed at its destination, in bytes."""

    guest: Guest
    memory: int
    limit: int
    accel: str = "tcg"
    vcpus: int = 1


def linux(vcpus: int = 1) -> Place:
    return Place(guests.linux("smemv.fill=384M smemv.rate=20000"), 512 * MIB, 192 * MIB, vcpus=vcpus)


def small(vcpus: int = 1) -> Place:
    """Like linux(), and sooner moved."""
    return Place(guests.linux("smemv.fill=160M smemv.rate=20000"), 256 * MIB, 96 * MIB, vcpus=vcpus)


# With it a guest tells what it has free.
REPORTING = ["-device", "virtio-balloon-pci,id=balloon0,free-page-reporting=on"]


def churning(vcpus: int = 1) -> Place:
    """Like small(), and now and then it gives memory back and takes it again: to be started with REPORTING."""
    guest = guests.linux("smemv.fill=128M smemv.rate=20000 smemv.churn=32M")
    return Place(guest, 256 * MIB, 96 * MIB, vcpus=vcpus)


def bare() -> Place:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no /dev/kvm that can be used")
    return Place(guests.bare("smemv.fill=96"), 128 * MIB, 64 * MIB, accel="kvm")


class Hosts:
    """Starts the VMs and memservers of a test, with the patched QEMU."""

    def __init__(self, binary: Path, start_vm: Callable[..., Vm], start_memserver: Callable[..., Memserver]) -> None:
        self.binary = binary
        self._start_vm = start_vm
        self.start_memserver = start_memserver

    def vm(self, place: Place, incoming: bool = False, devices: Sequence[str] = ()) -> Vm:
        return self._start_vm(
            self.binary,
            place.guest,
            memory=f"{place.memory // MIB}M",
            accel=place.accel,
            vcpus=place.vcpus,
            incoming=incoming,
            devices=devices,
        )

    def running_vm(self, place: Place, devices: Sequence[str] = ()) -> Vm:
        vm = self.vm(place, devices=devices)
        vm.wait_for_guest(lambda status: status["phase"] == "run" and status["accesses"] > 0, timeout=120)
        return vm

    def memservers(self, place: Place, count: int) -> list[Memserver]:
        return [self.start_memserver(share) for share in shares(place.memory, place.limit, count)]

    def split(self, place: Place, count: int = 2) -> tuple[Vm, Vm, list[Memserver]]:
        """A VM that was split; returns source, destination and memservers."""
        source = self.running_vm(place)
        destination = self.vm(place, incoming=True)
        memservers = self.memservers(place, count)
        set_target(source, "test", place.memory, place.limit, memservers)
        source.migrate_to(destination)
        return source, destination, memservers
