# SPDX-License-Identifier: GPL-3.0-or-later
"""The binaries under test and what they are built from, brought up to date."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from upstream import Upstream

from tests.make import BUILD, make
from tests.qemu.paths import CACHE, NATIVE_QEMU


def stock_tree() -> Path:
    """Upstream's source, as it is."""
    return Upstream.read(NATIVE_QEMU / "UPSTREAM").stock_tree(CACHE / "qemu")


@functools.cache
def qemu_build(*options: str) -> Path:
    """The build folder of a QEMU (options as of native/qemu/build): qemu-system-x86_64 and QEMU's migration tests."""
    command = [NATIVE_QEMU / "build", "--no-package", "--qtests", *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


def memserver() -> Path:
    """smemv-memserver."""
    make("native/memserver")
    return BUILD / "memserver" / "smemv-memserver"
