# SPDX-License-Identifier: GPL-3.0-or-later
"""lxcfs: a /proc/meminfo that says what a host's memory limit leaves it, not what the machine has."""
from __future__ import annotations

import contextlib
import os
import signal
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
    """Stop it. Unmounted it would end by itself, but not before the last process that sees the mount: so it is killed."""
    if os.path.ismount(folder(lab)):
        run("umount", folder(lab))
    file = STATE / lab / "lxcfs.pid"
    pid = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    with contextlib.suppress(ProcessLookupError):
        while _is_lxcfs_of(lab, pid):
            os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.02)


def _is_lxcfs_of(lab: str, pid: str) -> bool:
    """Return whether the process is still that; its number may be another's by now."""
    command = run("ps", "-o", "args=", "-p", pid, check=False) if pid else ""
    return str(folder(lab)) in command
