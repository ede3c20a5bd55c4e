# SPDX-License-Identifier: GPL-3.0-or-later
"""The cgroup a host runs in: its memory limit, its processes, and the end of all of them at once.

Two ways, one interface. Where systemd manages the machine, a host is a transient unit of it. On a machine without
systemd and with cgroup v1 (a container, a small VM), the lab makes the cgroups itself.
"""
from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from lab.command import run
from lab.settings import LabError

REBOOT = 133  # systemd-nspawn's exit status when the host asked for a reboot
CPU_SHARES = 10240  # of all labs, where a process of the machine has 1024


def of(lab: str, host: str) -> UnitCgroup | LegacyCgroup:
    """Return the cgroup of a host, whether it exists yet or not."""
    if Path("/run/systemd/system").exists():
        return UnitCgroup(lab, host)
    if not any(mount.kind == "cgroup" for mount in mounts()):
        raise LabError("the lab needs systemd, or cgroup v1 controllers, on this machine")
    return LegacyCgroup(lab, host)


def join(pid: int) -> None:
    """Move this process to the cgroups of another, so that what it uses counts there."""
    paths = {mount.controllers: mount.path for mount in mounts()}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in paths:
            write(paths[controllers] / path.lstrip("/") / "cgroup.procs", os.getpid())


class UnitCgroup:
    """A transient unit of the machine's systemd."""

    def __init__(self, lab: str, host: str) -> None:
        self.unit = f"smemv-lab-{lab}-{host}.service"

    def start(self, argv: list[str], environment: dict[str, str], memory: int, log: Path) -> None:
        """Run argv in the cgroup, with at most `memory` bytes and no swap, again after each reboot."""
        settings = {
            "Delegate": "yes", "MemoryMax": memory, "MemorySwapMax": 0, "TasksMax": "infinity",
            # One process killed inside is the host's own affair.
            "OOMPolicy": "continue", "KillMode": "mixed",
            "RestartForceExitStatus": REBOOT, "SuccessExitStatus": REBOOT, "RestartSec": 0,
            "StandardOutput": f"append:{log}", "StandardError": f"append:{log}",
        }
        run("systemd-run", "--quiet", "--collect", f"--unit={self.unit}",
            *[f"--property={key}={value}" for key, value in settings.items()],
            *[f"--setenv={key}={value}" for key, value in environment.items()], "--", *argv)

    def set_memory(self, memory: int) -> None:
        """Change the limit, in bytes, of a host that is running."""
        run("systemctl", "set-property", "--runtime", self.unit, f"MemoryMax={memory}")

    def pids(self) -> list[int]:
        """Return every process of the host, as the machine numbers them."""
        group = run("systemctl", "show", "--property=ControlGroup", "--value", self.unit).strip()
        return _pids(Path("/sys/fs/cgroup") / group.lstrip("/")) if group else []

    def kill(self) -> None:
        """End every process at once; nothing inside gets a chance to say goodbye."""
        while self.pids():
            run("systemctl", "kill", "--signal=KILL", self.unit, check=False)
            time.sleep(0.05)

    def remove(self) -> None:
        """End every process and leave no trace of the cgroup."""
        self.kill()
        run("systemctl", "stop", self.unit, check=False)


class LegacyCgroup:
    """A cgroup in every hierarchy of a machine without systemd; one that hosts share lets them come up degraded."""

    def __init__(self, lab: str, host: str) -> None:
        self.path = Path("smemv-lab", lab, host)

    def start(self, argv: list[str], environment: dict[str, str], memory: int, log: Path) -> None:
        """Run argv in the cgroup, with at most `memory` bytes and no swap, again after each reboot."""
        for mount in mounts():
            _make(mount, self.path)
        self.set_memory(memory)
        enter = "".join(f"echo $$ > {mount.path / self.path}/cgroup.procs && " for mount in mounts())
        again = f'while "$@"; [ $? -eq {REBOOT} ]; do :; done'
        with open(log, "ab") as output:
            loop = subprocess.Popen(["sh", "-c", enter + again, "sh", *argv],
                                    env={**os.environ, **environment}, cwd="/", stdin=subprocess.DEVNULL,
                                    stdout=output, stderr=output, start_new_session=True)
        while not self.pids() and loop.poll() is None:
            time.sleep(0.01)

    def set_memory(self, memory: int) -> None:
        """Change the limit, in bytes."""
        group = self._memory()
        limits = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
        # The limit with swap may never be the smaller one, not even in between.
        if memory > int((group / limits[0]).read_text()):
            limits.reverse()
        for limit in limits:
            write(group / limit, memory)

    def pids(self) -> list[int]:
        """Return every process of the host, as the machine numbers them."""
        return _pids(self._memory())

    def kill(self) -> None:
        """End every process at once; nothing inside gets a chance to say goodbye."""
        while pids := self.pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def remove(self) -> None:
        """End every process and leave no trace of the cgroup."""
        self.kill()
        for mount in mounts():
            group = mount.path / self.path
            for folder, _, _ in os.walk(group, topdown=False):
                os.rmdir(folder)
            for parent in (group.parent, group.parent.parent):
                if parent.is_dir() and not any(child.is_dir() for child in parent.iterdir()):
                    parent.rmdir()

    def _memory(self) -> Path:
        return next(mount.path for mount in mounts() if mount.controllers == "memory") / self.path


class Mount:
    """A cgroup hierarchy: where it is mounted and what it controls, in the words of /proc/PID/cgroup."""

    def __init__(self, line: str) -> None:
        fields, _, tail = line.partition(" - ")
        self.path = Path(fields.split()[4])
        self.kind, _, options = tail.split(maxsplit=2)
        words = [word for word in options.split(",") if word not in ("rw", "ro", "xattr", "clone_children")]
        words = [word for word in words if not word.startswith("release_agent=")]
        self.controllers = ",".join(words) if self.kind == "cgroup" else ""


def mounts() -> list[Mount]:
    """Return every cgroup hierarchy of this machine."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [Mount(line) for line in lines if line.partition(" - ")[2].startswith("cgroup")]


def _make(mount: Mount, path: Path) -> None:
    group = mount.path
    for part in path.parts:
        parent, group = group, group / part
        group.mkdir(exist_ok=True)
        # A new cpuset has no processor and no memory node, and takes no process until it has.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if mount.kind == "cgroup" and (group / name).exists():
                write(group / name, (parent / name).read_text().strip())
        # All labs together would weigh as much as one process of the machine: too little for an sshd to answer in time.
        if parent == mount.path and (group / "cpu.shares").exists():
            write(group / "cpu.shares", CPU_SHARES)


def _pids(group: Path) -> list[int]:
    pids = []
    for folder, _, _ in os.walk(group):
        with suppress(OSError):  # of one that went away meanwhile, and so has no processes
            pids += [int(pid) for pid in Path(folder, "cgroup.procs").read_text().split()]
    return pids


def remove(group: Path) -> None:
    """Remove a cgroup whose processes have ended, which the kernel counts a little longer."""
    deadline = time.monotonic() + 10
    while group.exists() and time.monotonic() < deadline:
        with suppress(OSError):
            group.rmdir()
        time.sleep(0.05)


def write(path: Path, value: int | str) -> None:
    """Write a setting; LabError says which one was not taken, and why."""
    try:
        path.write_text(str(value))
    except OSError as error:
        raise LabError(f"{path}: {value}: {error.strerror}") from error
