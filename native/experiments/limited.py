# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that is short of memory and has swap: a cgroup for one program, and somewhere to swap to."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import cgroup
from native.bench.stage import SMALL_PAGES

CACHE = Path(os.environ.get("SMEMV_CACHE") or "/var/cache/smemv")
ZRAM = Path("/sys/class/zram-control")


@dataclass(frozen=True)
class Disk:
    """What a disk does at best in a second: bytes that it reads, and as many that it writes, and places it reads at."""

    rate: int
    reads: int


class Limited:
    """A cgroup with so many bytes of memory, in small pages, and a disk that does no more than that one.

    Swap does not count as memory. What is swapped out is held to the disk's rate only with swap() that is throttled.

    A context manager; the programs in it are to have ended when it does.
    """

    def __init__(self, memory: int, disk: Disk | None = None) -> None:
        self._memory = memory
        self._disk = disk
        self._name = f"smemv-experiment-{os.getpid()}"
        self._groups: list[Path] = []

    def __enter__(self) -> Limited:
        if Path("/run/systemd/system").exists():
            return self
        paths = {mount.controllers: mount.path / self._name for mount in cgroup.mounts()}
        self._groups = [paths["memory"], paths["blkio"]]
        for group in self._groups:
            group.mkdir()
        cgroup.write(paths["memory"] / "memory.limit_in_bytes", self._memory)
        if self._disk:
            cgroup.write(paths["blkio"] / "blkio.throttle.read_bps_device", f"{_device()} {self._disk.rate}")
            cgroup.write(paths["blkio"] / "blkio.throttle.read_iops_device", f"{_device()} {self._disk.reads}")
            # Control groups of version 1 count what is swapped out as nobody's, which is the root's.
            self._throttle_machine(self._disk.rate)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._groups and self._disk:
            self._throttle_machine(0)
        # Where something failed, programs may be there still; what they have in swap would not come back for the limit.
        self._end_programs()
        for group in self._groups:
            cgroup.remove(group)

    def _throttle_machine(self, disk_rate: int) -> None:
        root = self._groups[1].parent
        cgroup.write(root / "blkio.throttle.write_bps_device", f"{_device()} {disk_rate}")

    def _end_programs(self) -> None:
        if not self._groups:
            command = ["systemctl", "kill", "--signal=KILL", f"{self._name}.scope"]
            subprocess.run(command, check=False, capture_output=True)
            return
        for pid in (self._groups[0] / "cgroup.procs").read_text(encoding="ascii").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    @property
    def prefix(self) -> tuple[str, ...]:
        """A command to run the program by."""
        if self._groups:
            enter = "".join(f"echo $$ > {group}/cgroup.procs && " for group in self._groups)
            return ("sh", "-c", enter + 'exec "$@"', "sh", *SMALL_PAGES)
        settings: dict[str, object] = {"MemoryMax": self._memory}
        if self._disk:
            settings |= {f"IO{way}BandwidthMax": f"/ {self._disk.rate}" for way in ("Read", "Write")}
            settings["IOReadIOPSMax"] = f"/ {self._disk.reads}"
        properties = [f"--property={key}={value}" for key, value in settings.items()]
        return ("systemd-run", "--scope", "--quiet", "--collect", "--slice-inherit", f"--unit={self._name}",
                *properties, "--", *SMALL_PAGES)  # fmt: skip


@contextlib.contextmanager
def swap(size: int, compressed: bool = False, throttled: bool = False) -> Iterator[None]:
    """Swap of so many bytes for this machine: a file on its disk, or compressed memory (zram).

    throttled is whether the file takes part in what Limited makes of the disk.
    """
    with contextlib.ExitStack() as stack:
        device = stack.enter_context(_zram(size) if compressed else _file(size))
        if throttled:
            device = stack.enter_context(_loop(device))
        subprocess.run(["mkswap", device], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["swapon", device], check=True)
        try:
            yield
        finally:
            subprocess.run(["swapoff", device], check=True)


@contextlib.contextmanager
def _file(size: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="swap-") as folder:
        path = Path(folder, "swap")
        subprocess.run(["fallocate", "--length", str(size), path], check=True)
        path.chmod(0o600)
        yield path


@contextlib.contextmanager
def _loop(path: Path) -> Iterator[Path]:
    """The file as a device of its own.

    The kernel holds no bio to a rate that is marked as swap, lest whoever waits for memory waits for a rate; what a
    loop device makes of one has no such mark. It is said to rotate, so that the kernel reads what lies near a page too.
    """
    command = ["losetup", "--find", "--show", "--direct-io=on", path]
    device = Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    try:
        Path("/sys/block", device.name, "queue/rotational").write_text("1", encoding="ascii")
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@contextlib.contextmanager
def _zram(size: int) -> Iterator[Path]:
    number = (ZRAM / "hot_add").read_text(encoding="ascii").strip()
    try:
        Path(f"/sys/block/zram{number}/disksize").write_text(str(size), encoding="ascii")
        yield Path(f"/dev/zram{number}")
    finally:
        (ZRAM / "hot_remove").write_text(number, encoding="ascii")


def _device() -> str:
    """MAJOR:MINOR of the disk that the swap file is on."""
    number = os.stat(CACHE).st_dev
    return f"{os.major(number)}:{os.minor(number)}"
