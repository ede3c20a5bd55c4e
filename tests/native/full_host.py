# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that has less memory than its memserver may give."""

from __future__ import annotations

import subprocess


def limit_memory(pid: int, limit: int | None) -> None:
    """A memserver's files may have so many bytes each, or any: fallocate() fails as on a host that is full."""
    size = "unlimited" if limit is None else str(limit)
    subprocess.run(["prlimit", f"--pid={pid}", f"--fsize={size}:unlimited"], check=True)
