# SPDX-License-Identifier: GPL-3.0-or-later
"""Emulated processors, while the address space changes (patches/0006-sections-of-the-tlb.patch)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.qemu import guests
from tests.qemu.vm import Vm

pytestmark = pytest.mark.qemu

DEVICE = ("-device", "virtio-net-pci")


def test_a_processors_accesses_go_where_they_were_meant_to(patched: Path, start_vm: Callable[..., Vm]) -> None:
    vm = start_vm(patched, guests.remap(), memory="64M", vcpus=2, devices=DEVICE)
    status = vm.run_guest(5)
    assert status["moves"] > 100
    assert status["accesses"] > 100
    assert status["wrong"] == 0
