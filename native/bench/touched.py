#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that a migration can have at once.

A machine that is virtual itself gives free memory back to its host, and to get it again takes some 10 us a page, where
one that was in use just before takes 2. Which of two migrations waits for that is luck, unless neither does: a process
of its own holds memory that it has touched, and frees as much of it as others take, as they take it: in small pages,
and all of the small blocks of memory are its own, so that the kernel finds no others before.
"""

from __future__ import annotations

import contextlib
import mmap
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CHUNK = 8 << 20
AHEAD = 64 << 20  # free at any time, beside what nobody touched
HUGE = 9  # the order of a huge page
LOOK = 0.005  # seconds


@contextlib.contextmanager
def touched(size: int) -> Iterator[None]:
    """So many bytes of memory can be had at once, in small pages, for as long as the context lasts."""
    command = [sys.executable, __file__, str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield


def free() -> int:
    """Bytes that nobody uses, on the whole machine."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemFree:")) * 1024


def small_blocks() -> int:
    """Bytes of free memory in blocks that are smaller than a huge page."""
    lines = Path("/proc/buddyinfo").read_text(encoding="ascii").splitlines()
    blocks = (map(int, line.split()[4 : 4 + HUGE]) for line in lines)
    return sum(count << order for zone in blocks for order, count in enumerate(zone)) * mmap.PAGESIZE


def main() -> None:
    size = int(sys.argv[1]) + small_blocks()
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for at in range(0, size, mmap.PAGESIZE):
        memory[at] = 1
    least = free() + min(AHEAD, size)
    print(flush=True)
    freed = 0
    while not select.select([sys.stdin], [], [], LOOK)[0]:
        while freed < size and free() < least:
            memory.madvise(mmap.MADV_DONTNEED, freed, min(CHUNK, size - freed))
            freed += CHUNK


if __name__ == "__main__":
    main()
