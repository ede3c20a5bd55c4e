# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of a lab that have processors of their own: each is held to a part of the machine's, and takes no other.

A processor of a machine may be slower while another one is busy, as of a core that two of them share, and one that had
nothing to do takes a while to wake up. On hosts of their own no other host's load decides that. So that none does here,
processors are never idle: programs of the lowest priority have what the hosts leave.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lab import cgroup
from lab.links import Hosts

# A program that has had its part waits for no longer than this.
PERIOD = 0.01  # seconds
# It ends with who started it, however that ends, and gives way to any other program at once.
BUSY = ("setpriv", "--pdeathsig", "KILL", "chrt", "--idle", "0", sys.executable, "-c", "while True: pass")


@contextlib.contextmanager
def own(hosts: Hosts, parts: Sequence[float]) -> Iterator[Hosts]:
    """These hosts, of which the first ones have such parts of all the machine's processors.

    Their programs are to have ended when the context does.
    """
    with contextlib.ExitStack() as stack:
        limited = [
            replace(host, prefix=(*stack.enter_context(_group(number, part * (os.cpu_count() or 1))), *host.prefix))
            for number, (host, part) in enumerate(zip(hosts.hosts, parts))
        ]
        for _processor in range(os.cpu_count() or 1):
            stack.enter_context(_busy())
        yield replace(hosts, hosts=[*limited, *hosts.hosts[len(parts) :]])


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    with subprocess.Popen(BUSY) as process:
        try:
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def _group(number: int, processors: float) -> Iterator[tuple[str, ...]]:
    """A command to run programs by that are to have so many processors together."""
    name = f"smemv_experiment_{os.getpid()}_{number}"
    if Path("/run/systemd/system").exists():
        name += ".slice"
        limits = [f"CPUQuota={processors:.1%}", f"CPUQuotaPeriodSec={PERIOD * 1000:.0f}ms"]
        subprocess.run(["systemctl", "set-property", "--runtime", name, *limits], check=True)
        try:
            yield ("systemd-run", "--scope", "--quiet", "--collect", f"--slice={name}", "--")
        finally:
            subprocess.run(["systemctl", "stop", name], check=False)
            subprocess.run(["systemctl", "revert", name], check=False)
        return
    group = next(mount.path for mount in cgroup.mounts() if "cpu" in mount.controllers.split(",")) / name
    group.mkdir()
    try:
        cgroup.write(group / "cpu.cfs_period_us", round(PERIOD * 1e6))
        cgroup.write(group / "cpu.cfs_quota_us", round(processors * PERIOD * 1e6))
        yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    finally:
        cgroup.remove(group)
