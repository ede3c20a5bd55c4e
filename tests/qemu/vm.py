# SPDX-License-Identifier: GPL-3.0-or-later
"""A QEMU on this machine with a guest that checks its memory, for tests."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpError
from ansible_collections.smemv.kvm.plugins.module_utils.qmp import QmpClient

from tests.qemu import standstill
from tests.qemu.guests import Guest

MACHINE = "pc-q35-10.0"
STAGING_NAME = "[anon:smemv-staging]"
RAM_BLOCK = "pc.ram"
STATUS_PREFIX = "smemv-guest: t="
WRONG_PREFIX = "smemv-guest: wrong"
CONFIG_PREFIX = "smemv-guest: config "
POLL = 0.1
FINISHED = ("completed", "failed", "cancelled")


class VmError(AssertionError):
    """The VM or its migration did not do what the test needs; the message has QEMU's own words."""


class StillMigrating(VmError):
    """A migration has not ended in the time that it was given; it goes on."""


class Vm:
    """A running QEMU process; a context manager that ends it."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], timeout: float) -> None:
        self.folder = folder
        self.process = process
        self._ram: range | None = None
        self._client = self._connect(timeout)

    def _connect(self, timeout: float) -> QmpClient:
        deadline = time.monotonic() + timeout
        while True:
            self.check_alive()
            try:
                return QmpClient(str(self.folder / "qmp.sock"), timeout=timeout).__enter__()
            except QmpError:
                # QEMU has not got that far.
                if time.monotonic() > deadline:
                    raise
            time.sleep(POLL)

    def __enter__(self) -> Vm:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        # pytest shows it where a test has failed.
        print(f"{self.folder.name} ended with {self.process.returncode}: {self.log()}")

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Run a QMP command; underscores in the arguments' names stand for hyphens. Raises the client's errors."""
        return self._client.execute(command, **arguments)

    def wait_for_event(self, name: str, timeout: float) -> dict[str, Any]:
        """The data of the next QMP event of that name. Raises the client's errors."""
        return self._client.wait_event(name, timeout).get("data", {})

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self._client.close()
        self.process.kill()
        self.process.wait()

    def check_alive(self) -> None:
        """Raise VmError if the process has ended."""
        if self.process.poll() is not None:
            raise VmError(f"QEMU ended with {self.process.returncode}: {self.log()}")

    def log(self) -> str:
        """What QEMU wrote to stderr."""
        return (self.folder / "stderr").read_text(encoding="utf-8", errors="replace")

    # -- the guest ----------------------------------------------------------------------------------------------------

    def console_lines(self) -> list[str]:
        """The whole lines that the guest printed so far."""
        console = self.folder / "console"
        text = console.read_text(encoding="utf-8", errors="replace") if console.exists() else ""
        return [line.rstrip("\r") for line in text.split("\n")[:-1]]

    def guest_status(self) -> dict[str, Any] | None:
        """The last status line: t (float), phase (str), accesses, rate, wrong, pages, maxgap_ms, filled,
        transfers (int)."""
        lines = [line for line in self.console_lines() if line.startswith(STATUS_PREFIX)]
        return parse_status(lines[-1]) if lines else None

    def guest_config(self) -> dict[str, str] | None:
        """The last configuration that the guest saw: cpus, memory_kb, disks, cards."""
        lines = [line for line in self.console_lines() if line.startswith(CONFIG_PREFIX)]
        return dict(word.split("=", 1) for word in lines[-1].removeprefix(CONFIG_PREFIX).split()) if lines else None

    def wait_for_config(self, timeout: float = 60) -> dict[str, str]:
        """The configuration that the guest sees, once it has printed it on this host."""
        deadline = time.monotonic() + timeout
        while (config := self.guest_config()) is None:
            self.check_alive()
            if time.monotonic() > deadline:
                raise VmError(f"after {timeout} s the guest has not printed its configuration")
            time.sleep(POLL)
        return config

    def wrong_lines(self) -> list[str]:
        """A line for each wrong page that the guest saw on this host."""
        return [line for line in self.console_lines() if line.startswith(WRONG_PREFIX)]

    def wait_for_guest(self, condition: Callable[[dict[str, Any]], bool], timeout: float) -> dict[str, Any]:
        """Wait until a status line meets the condition; returns it. Raises VmError."""
        deadline = time.monotonic() + timeout
        while True:
            self.check_alive()
            status = self.guest_status()
            if status and condition(status):
                return status
            if time.monotonic() > deadline:
                print(standstill.describe(self))
                raise VmError(f"after {timeout} s the guest is at {status}; last lines: {self.console_lines()[-5:]}")
            time.sleep(POLL)

    def run_guest(self, seconds: float) -> dict[str, Any]:
        """Let the guest report for that many more seconds of its own time; returns the last status."""
        first = self.wait_for_guest(lambda status: True, timeout=60)
        return self.wait_for_guest(lambda status: status["t"] >= first["t"] + seconds, timeout=10 * seconds + 60)

    # -- memory, as the kernel sees it --------------------------------------------------------------------------------

    def resident(self) -> int:
        """Bytes of guest memory that are resident: the RAM block's mapping and S-memV's staging, from smaps."""
        ram = self.ram_addresses()
        total = 0
        counts = False
        for line in Path(f"/proc/{self.process.pid}/smaps").read_text(encoding="utf-8").splitlines():
            mapping = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
            if mapping:
                start, end = (int(address, 16) for address in mapping.groups())
                counts = (start < ram.stop and end > ram.start) or line.endswith(STAGING_NAME)
            elif counts and line.startswith("Rss:"):
                total += int(line.split()[1]) * 1024
        return total

    def ram_addresses(self) -> range:
        """Where the guest's memory is in the QEMU process: guest-physical address 0 is at the start."""
        if self._ram is None:
            blocks = self.qmp("human-monitor-command", command_line="info ramblock")
            (line,) = [line for line in blocks.splitlines() if line.split()[0] == RAM_BLOCK]
            # … offset, used, total, address in the process, rw or ro
            *_, used, _, address, _ = line.split()
            self._ram = range(int(address, 16), int(address, 16) + int(used, 16))
        return self._ram

    # -- migration ----------------------------------------------------------------------------------------------------

    def set_capabilities(self, *names: str) -> None:
        """Switch migration capabilities on."""
        states = [{"capability": name, "state": True} for name in names]
        self.qmp("migrate-set-capabilities", capabilities=states)

    def listen(self, address: str = "127.0.0.1") -> str:
        """Make a VM that was started with incoming=True listen on a free port of that address; returns the URI."""
        self.qmp("migrate-incoming", uri=f"tcp:{address}:0")
        (address,) = self.qmp("query-migrate")["socket-address"]
        return f"tcp:{address['host']}:{address['port']}"

    def migration_has_ended(self) -> bool:
        """Whether the last migration from here has, and where the VM runs is known."""
        return self.qmp("query-migrate").get("status") in FINISHED and self.run_state() != "finish-migrate"

    def run_state(self) -> str:
        return self.qmp("query-status")["status"]

    def wait_for_migration(self, timeout: float) -> dict[str, Any]:
        """Wait until the migration from this VM has ended, however; returns query-migrate. Raises VmError."""
        deadline = time.monotonic() + timeout
        while True:
            self.check_alive()
            if self.migration_has_ended():
                return self.qmp("query-migrate")
            if time.monotonic() > deadline:
                raise StillMigrating(f"the migration has not ended after {timeout} s: {self.qmp('query-migrate')}")
            time.sleep(POLL)

    def migrate_to(
        self, destination: Vm, timeout: float = 120, address: str = "127.0.0.1", **parameters: Any
    ) -> dict[str, Any]:
        """Migrate to a VM started with incoming=True; returns query-migrate. Raises VmError if it does not complete.

        address is where the destination listens.
        """
        self.begin_migration(destination, address, **parameters)
        return self.complete_migration(destination, timeout)

    def begin_migration(self, destination: Vm, address: str = "127.0.0.1", **parameters: Any) -> None:
        """Begin to migrate, as migrate_to()."""
        self.qmp("migrate-set-parameters", **{"max_bandwidth": 0, **parameters})
        self.qmp("migrate", uri=destination.listen(address))

    def complete_migration(self, destination: Vm, timeout: float) -> dict[str, Any]:
        """Wait for a migration that was begun, as migrate_to()."""
        state = self.wait_for_migration(timeout)
        if state["status"] != "completed":
            raise VmError(f"migration: {state}; source: {self.log()}; destination: {destination.log()}")
        return state


def parse_status(line: str) -> dict[str, Any]:
    """Read a status line of the guest."""
    status: dict[str, Any] = {}
    for word in line.removeprefix("smemv-guest: ").split():
        name, value = word.split("=", 1)
        status[name] = value if name == "phase" else float(value) if name == "t" else int(value.removesuffix("/s"))
    return status


def start(
    binary: Path,
    folder: Path,
    guest: Guest,
    *,
    memory: str = "2G",
    accel: str = "tcg",
    vcpus: int = 1,
    incoming: bool = False,
    devices: Sequence[str] = (),
    prefix: Sequence[str] = (),
    descriptors: Sequence[int] = (),
    timeout: float = 60,
) -> Vm:
    """Start a VM with its files (console, stderr, qmp.sock) in folder, whose path is short enough for a socket.

    memory is what -m takes; accel tcg or kvm; devices are further options of QEMU, prefix a command to run it by,
    descriptors what it inherits. A VM with incoming=True waits for listen(). timeout is for the QMP socket and each
    answer, in seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [*prefix, str(binary), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    command += ["-machine", MACHINE]
    command += ["-accel", accel, "-m", memory, "-smp", str(vcpus), *guest.options]
    command += ["-serial", f"file:{folder}/console", "-qmp", f"unix:{folder}/qmp.sock,server=on,wait=off"]
    command += [*devices, *(["-incoming", "defer"] if incoming else [])]
    with open(folder / "stderr", "wb") as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, pass_fds=descriptors
        )
    try:
        return Vm(folder, process, timeout)
    except BaseException:
        process.kill()
        process.wait()
        raise
