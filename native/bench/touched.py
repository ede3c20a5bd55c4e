# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that a migration can have at once.

A machine that is virtual itself gives free memory back to its host, and to get it again takes some 10 us a page, where
one that was in use just before takes 2. Which of two migrations waits for that is luck, unless all that they take was.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator


@contextlib.contextmanager
def touched(size: int) -> Iterator[None]:
    """Touch so many bytes, which are free at the end."""
    with mmap.mmap(-1, max(size, mmap.PAGESIZE)) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1
        yield
