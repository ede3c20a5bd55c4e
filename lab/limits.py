# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of the machine's kernel that all hosts share."""
from __future__ import annotations

from pathlib import Path

INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
# Each host's systemd takes some twenty; root has 128 where nobody has raised that.
INSTANCES = 8192


def ensure() -> None:
    """Have room for many hosts. It stays when the labs go: a limit is no load."""
    if int(INOTIFY.read_text(encoding="ascii")) < INSTANCES:
        INOTIFY.write_text(str(INSTANCES), encoding="ascii")
