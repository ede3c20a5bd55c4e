# SPDX-License-Identifier: GPL-3.0-or-later
"""Touches a VM's memory from outside, as one of its own threads would: a page that is missing is fetched first."""

from __future__ import annotations

import array
import ctypes
import os
from pathlib import Path

from tests.qemu.split import PAGE
from tests.qemu.vm import Vm

ENTRY = 8
PRESENT = 63  # bit of an entry of pagemap

_libc = ctypes.CDLL(None, use_errno=True)


class _Part(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def missing(vm: Vm) -> list[int]:
    """The addresses in the VM's process of the pages of its memory that are not there."""
    ram = vm.ram_addresses()
    with Path(f"/proc/{vm.process.pid}/pagemap").open("rb") as pagemap:
        pagemap.seek(ram.start // PAGE * ENTRY)
        entries = array.array("Q", pagemap.read(len(ram) // PAGE * ENTRY))
    return [ram.start + i * PAGE for i, entry in enumerate(entries) if not entry >> PRESENT]


def touch(vm: Vm, address: int) -> None:
    """Touch the page at that address in the VM's process. It waits for the page, and other threads run meanwhile."""
    byte = ctypes.create_string_buffer(1)
    here, there = _Part(ctypes.addressof(byte), 1), _Part(address, 1)
    if _libc.process_vm_readv(vm.process.pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) != 1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
