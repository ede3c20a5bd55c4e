# SPDX-License-Identifier: GPL-3.0-or-later
"""One VM, where it may go, and what a move of it costs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from lab.links import Hosts
from native.bench.rate import rate
from native.bench.saved import Saved
from native.bench.touched import touched
from tests.qemu import binaries
from tests.qemu.guests import Guest
from tests.qemu.memserver import Memserver
from tests.qemu.split import MIB, shares, where
from tests.qemu.vm import StillMigrating, Vm, start

GIB = 1 << 30
TIMEOUT = 900  # seconds
POLL = 0.02
# Memory of a machine that is virtual itself is slow where it is touched for the first time, and huge pages are made of
# what nobody touched before: a VM that is migrated to has small ones, however it comes.
SMALL_PAGES = (sys.executable, str(Path(__file__).resolve().with_name("small_pages.py")))
TICKS = os.sysconf("SC_CLK_TCK")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Move:
    """What one move took."""

    completed: bool
    total_time: float  # ms, until nothing is left to be moved, or it was given up
    source_time: float  # ms, until the source was rid of the VM, or it was given up
    resident: int  # bytes of the VM on the source when it began; 0 where no memserver takes part
    downtime: float | None  # ms; None where it was given up
    began: float  # time.monotonic()
    ended: float
    processor: dict[str, float]  # seconds of each program
    idle: float  # part of the time that the machine's processors had nothing to do
    bytes_of_links: list[int]  # of each host, both ways, by the kernel's count


@dataclass
class Stage:
    """A VM on the hosts of a lab, by its guest and size; a context manager that ends all of it.

    options are further ones of the memservers; devices gives further ones of the VM, and the descriptors that they
    name, each time it is started. With huge_pages, memservers keep pages in some that were set aside before.
    """

    hosts: Hosts
    guest: Guest
    memory: int
    options: Sequence[str] = ("--plain",)
    devices: Callable[[], tuple[Sequence[str], Sequence[int]]] = lambda: ((), ())
    huge_pages: bool = False
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _takes: int = 0  # bytes on all hosts that the next migration may take of what nobody has, of a split VM

    def __enter__(self) -> Stage:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="smemv-")))
        self.vms: list[Vm] = []
        self.memservers: dict[int, Memserver] = {}
        return self

    def __exit__(self, *exception: object) -> None:
        # What programs said on their way is of no interest where nothing failed.
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            self._stack.close()
        if any(exception):
            print(said.getvalue(), file=sys.stderr)

    def enter(self, context: contextlib.AbstractContextManager[_T]) -> _T:
        """Enter a context that ends with the stage, after the VMs that are started from now on."""
        return self._stack.enter_context(context)

    def start(self, host: int, *, stock: bool, incoming: bool = False, prefix: Sequence[str] = ()) -> Vm:
        """A VM on a host."""
        return self._start(host, stock, incoming, (*prefix, *(SMALL_PAGES if incoming else ())))

    def resume(self, host: int, saved: Saved, *, stock: bool, prefix: Sequence[str] = ()) -> Vm:
        """A VM on a host that goes on from where it was saved; its memory may be in huge pages, as where it booted."""
        vm = self._start(host, stock, incoming=True, prefix=prefix)
        saved.resume(vm)
        return vm

    def _start(self, host: int, stock: bool, incoming: bool, prefix: Sequence[str]) -> Vm:
        binary = binaries.qemu_build(*(["--stock"] if stock else [])) / "qemu-system-x86_64"
        devices, descriptors = self.devices()
        vm = start(
            binary,
            self._folder / f"vm{len(self.vms)}",
            self.guest,
            memory=f"{self.memory // MIB}M",
            incoming=incoming,
            devices=devices,
            descriptors=descriptors,
            prefix=(*self.hosts.hosts[host].prefix, *prefix),
        )
        self.vms.append(self.enter(vm))
        return vm

    def start_running(
        self, host: int, *, stock: bool, saved: Saved | None = None, prefix: Sequence[str] = ()
    ) -> Vm:
        """A VM whose guest has filled its memory, here or where it was saved."""
        if saved:
            vm = self.resume(host, saved, stock=stock, prefix=prefix)
        else:
            vm = self.start(host, stock=stock, prefix=prefix)
        vm.wait_for_guest(lambda status: status["phase"] == "run" and status["accesses"] > 0, timeout=TIMEOUT)
        return vm

    def serve(self, host: int) -> Memserver:
        """The memserver of a host."""
        if host not in self.memservers:
            place = self.hosts.hosts[host]
            options = [*self.options, *(["--huge-pages"] if self.huge_pages else [])]
            server = Memserver(binaries.memserver(), self._folder / f"sub-{host}", capacity(self.memory),
                               options=options, address=place.address, prefix=place.prefix)  # fmt: skip
            self.memservers[host] = self.enter(server)
        return self.memservers[host]

    def aim(self, vm: Vm, limit: int, sub_hosts: Sequence[int], **options: object) -> None:
        """Make the VM's next migration one to a main host with that limit, and to these sub-hosts.

        Without another policy pages are placed by the threshold, which samples nothing.
        """
        servers = [self.serve(host) for host in sub_hosts]
        copies = options.get("replicas", 1)
        each = [share * copies for share in shares(self.memory, limit, len(servers))] if servers else []
        aims = [server.sub_host(share) for server, share in zip(servers, each)]
        self._takes = limit + (0 if self.huge_pages else sum(each))
        vm.qmp("smemv-set-target", name="experiment", main_limit=limit, sub_hosts=aims,
               **{"policy": "threshold", **options})  # fmt: skip

    def move(self, source: Vm, destination: Vm, host: int, patience: float = 0) -> Move:
        """Migrate, and wait until nothing is left to be moved; the source ends.

        A migration that has not ended after so many seconds, if not 0, is given up, and the VM stays where it is.
        """
        programs = self.programs(source, destination)
        for vm in (source, destination):
            vm.set_capabilities("return-path")
        resident = where(source)["resident"] if self.memservers else 0
        with touched(max(source.resident(), self._takes)):
            before, links = {name: processor(pid) for name, pid in programs.items()}, self._links()
            began, idle_before = time.monotonic(), idle()
            state = self._migrate(source, destination, host, patience)
            migrated = time.monotonic()
            while state and self.memservers and where(destination)["rebalancing"]:
                time.sleep(POLL)
            ended = time.monotonic()
            spare = min((idle() - idle_before) / (ended - began) / (os.cpu_count() or 1), 1)
            spent = {name: processor(pid) - before[name] for name, pid in programs.items()}
        rest = (ended - migrated) * 1000 if self.memservers else 0
        links = [now - then for now, then in zip(self._links(), links)]
        if state:
            source.stop()
        # To give one up may take a while itself, which is not counted.
        total, down = (state["total-time"], state["downtime"]) if state else (patience * 1000, None)
        return Move(bool(state), total + rest, total, resident, down, began, ended, spent, spare, links)

    def _migrate(self, source: Vm, destination: Vm, host: int, patience: float) -> dict | None:
        """What query-migrate says of it in the end; None if it was given up."""
        source.begin_migration(destination, self.hosts.hosts[host].address)
        try:
            return source.complete_migration(destination, patience or TIMEOUT)
        except StillMigrating:
            if not patience:
                raise
        source.qmp("migrate_cancel")
        source.wait_for_migration(TIMEOUT)
        return None

    def programs(self, source: Vm, destination: Vm) -> dict[str, int]:
        """The process of each program that takes part in a move."""
        servers = {f"memserver {number}": server.process.pid for number, server in self.memservers.items()}
        return {"source": source.process.pid, "destination": destination.process.pid, **servers}

    def accesses(self) -> int:
        """What the guest has got done so far, wherever it is."""
        return max(((vm.guest_status() or {}).get("accesses", 0) for vm in self.vms), default=0)

    def check(self, vm: Vm, seconds: float = 2) -> None:
        """Fail if the guest has ever seen a wrong page, up to so many seconds from now."""
        rate(vm, seconds)

    def _links(self) -> list[int]:
        return [_bytes_of_link(host.namespace) for host in self.hosts.hosts]


def save_running(hosts: Hosts, guest: Guest, memory: int) -> Saved:
    """A VM whose guest has filled its memory, to start others from."""
    with Stage(hosts, guest, memory) as stage:
        return Saved(stage.start_running(0, stock=True))


def capacity(memory: int) -> int:
    """Bytes that each memserver of a Stage may hold whose VM has so many: two copies of each page."""
    return 2 * memory


def processor(pid: int) -> float:
    """Seconds that a program has used a processor for so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def idle() -> float:
    """Seconds that the machine's processors have had nothing to do so far, together."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split()
    return (int(fields[4]) + int(fields[5])) / TICKS


def resident(pid: int) -> int:
    """Bytes of a program that are in memory, huge pages that were set aside included."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("VmRSS:", "HugetlbPages:"))) * 1024


def _bytes_of_link(namespace: str) -> int:
    """Through the one card of a namespace, both ways."""
    done = subprocess.run(["ip", "-netns", namespace, "-s", "-j", "link", "show", "eth0"], check=True,
                          stdout=subprocess.PIPE)  # fmt: skip
    (card,) = json.loads(done.stdout)
    return sum(card["stats64"][way]["bytes"] for way in ("rx", "tx"))
