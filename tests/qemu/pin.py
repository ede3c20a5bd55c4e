# SPDX-License-Identifier: GPL-3.0-or-later
"""Pins pages of a VM's memory from outside, for as long as a test wants, as a device's I/O does while it runs."""

from __future__ import annotations

import concurrent.futures
import ctypes
import fcntl
import mmap
import os
import select
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from tests.qemu.touch import read
from tests.qemu.vm import Vm

# linux/userfaultfd.h and asm/unistd_64.h
SYS_USERFAULTFD = 323
UFFD_API = 0xAA
UFFDIO_API, API = 0xC018AA3F, "QQQ"  # version, features, ioctls
UFFDIO_REGISTER, REGISTER = 0xC020AA00, "QQQQ"  # start, length, mode, ioctls
MODE_MISSING = 1

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def pinned(vm: Vm, address: int, size: int) -> Iterator[None]:
    """The pages of size bytes (at most 4 MiB) at that address in the VM's process are pinned in the block.

    The kernel pins what it is to copy from one process to another. It copies them to memory that is missing, and waits
    until that is there: it comes when the userfaultfd that is asked for it is closed.
    """
    buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    to = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    faults = _libc.syscall(SYS_USERFAULTFD, os.O_CLOEXEC)
    if faults < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
        try:
            fcntl.ioctl(faults, UFFDIO_API, struct.pack(API, UFFD_API, 0, 0))
            fcntl.ioctl(faults, UFFDIO_REGISTER, struct.pack(REGISTER, to, size, MODE_MISSING, 0))
            copied = reader.submit(read, vm, address, size, to)
            ready, _, _ = select.select([faults], [], [], 30)
            if not ready:
                raise TimeoutError(f"{size} bytes at {address:#x} are not pinned after 30 s")
            yield
        finally:
            os.close(faults)
    copied.result()
