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


def read(vm: Vm, address: int, size: int, to: int) -> None:
    """Read size bytes at that address in the VM's process to an address here, as the kernel does for direct I/O.

    The pages of up to 4 MiB are brought in and pinned all at once; what cannot be read raises an OSError.
    """
    here, there = _Part(to, size), _Part(address, size)
    if _libc.process_vm_readv(vm.process.pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) != size:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def touch(vm: Vm, address: int) -> None:
    """Touch the page at that address in the VM's process. It waits for the page, and other threads run meanwhile."""
    byte = ctypes.create_string_buffer(1)
    read(vm, address, 1, ctypes.addressof(byte))
