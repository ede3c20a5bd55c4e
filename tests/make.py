# SPDX-License-Identifier: GPL-3.0-or-later
"""make, by one test process at a time."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "native"


def make(folder: str, *arguments: str) -> None:
    """Make what is in that folder of native/ or tests/, into build/native."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "--silent", "-j2", "-C", ROOT / folder, f"BUILD={BUILD}", *arguments], check=True)
