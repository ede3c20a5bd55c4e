# SPDX-License-Identifier: GPL-3.0-or-later
"""lxcfs: a /proc/meminfo that says what a host's memory limit leaves it, not what the machine has."""
from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from lab.command import run
from lab.settings import STATE, LabError


def folder(lab: str) -> Path:
    """Return where the lab's lxcfs is mounted."""
    return STATE / lab / "lxcfs"


def ensure(lab: str) -> None:
    """Start the lab's lxcfs unless it is running."""
    if os.path.ismount(folder(lab)):
        return
    folder(lab).mkdir(exist_ok=True)
    log = STATE / lab / "lxcfs.log"
    with open(log, "wb") as output:
        daemon = subprocess.Popen(["lxcfs", f"--pidfile={STATE / lab / 'lxcfs.pid'}", folder(lab)], cwd="/",
                                  stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    while not os.path.ismount(folder(lab)):
        if daemon.poll() is not None:
            raise LabError(f"lxcfs did not start:\n{log.read_text()}")
        time.sleep(0.02)


def remove(lab: str) -> None:
    """Stop it: it ends by itself when it is unmounted, and takes its pid file along."""
    pid_file = STATE / lab / "lxcfs.pid"
    pid = pid_file.read_text().strip() if pid_file.exists() else ""
    if os.path.ismount(folder(lab)):
        run("umount", folder(lab))
    while pid and pid_file.exists() and os.path.exists(f"/proc/{pid}"):
        time.sleep(0.02)
