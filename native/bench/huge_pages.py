# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory set aside in huge pages, as on a sub-host whose memserver has --huge-pages."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
from collections.abc import Iterator
from pathlib import Path

SETTING = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
SIZE = 2 << 20
MAP_HUGETLB = 0x40000


@contextlib.contextmanager
def set_aside(size: int) -> Iterator[None]:
    """So many bytes more in huge pages, each of which was touched, for as long as the context lasts.

    One context at a time has them on a machine; others wait. Raises RuntimeError where the machine has not so much in
    such pieces.
    """
    with SETTING.open(encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = count()
        needed = before + size // SIZE
        try:
            SETTING.write_text(str(needed), encoding="ascii")
            if count() < needed:
                raise RuntimeError(f"the machine gives {count()} huge pages, and {needed} are needed")
            if size:
                _touch(size)
            yield
        finally:
            SETTING.write_text(str(before), encoding="ascii")


def count() -> int:
    """Huge pages that the machine has set aside."""
    return int(SETTING.read_text(encoding="ascii"))


def _touch(size: int) -> None:
    """A machine that is virtual itself has them from its host by that."""
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_HUGETLB) as memory:
        for at in range(0, size, SIZE):
            memory[at] = 1
