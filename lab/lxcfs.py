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
    _unmount(lab)
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
    """Stop it."""
    pid_file = STATE / lab / "lxcfs.pid"
    pid = int(pid_file.read_text()) if pid_file.exists() else 0
    _unmount(lab)
    # It would end by itself, were it not that hosts of other labs hold on to the mount they saw when they started.
    with contextlib.suppress(ProcessLookupError):
        while pid and _is_lxcfs(pid):
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.02)


def _unmount(lab: str) -> None:
    """Unmount it, also where its process is dead: ismount() cannot tell then, for nothing answers its stat()."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    if str(folder(lab)) in mounts:
        run("umount", folder(lab))


def _is_lxcfs(pid: int) -> bool:
    """Return whether that process is an lxcfs, and not merely what is left of one."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"lxcfs\0")
    except FileNotFoundError:
        return False
