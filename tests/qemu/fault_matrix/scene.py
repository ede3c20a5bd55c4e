# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM and three memservers on five hosts with links of their own, and an operation on the VM that can be held."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpCommandError, QmpError
from service_manager import ServiceManager

from lab.links import Hosts as Links
from tests.qemu import guests
from tests.qemu.fault_matrix import cells
from tests.qemu.fault_matrix.certificates import Certificates, name
from tests.qemu.hosts import CREDENTIALS, Place, encrypt
from tests.qemu.memserver import Memserver
from tests.qemu.split import MIB, shares, wait_until, where
from tests.qemu.vm import Vm, start

SOURCE, DESTINATION = 0, 1
SUB_HOSTS = (2, 3, 4)
LINKS = 5
NAME = "test"
ROOM = 512 * MIB
PORT = 4770
# So slow that a fault finds pages still on their way, in bytes a second.
HELD = 4 * MIB
TIMEOUT = 90  # seconds
# What an operation may take amid a fault; then it is called off.
PATIENCE = 45


def place() -> Place:
    """A small VM, soon up."""
    return Place(guests.linux("smemv.fill=96M smemv.rate=5000"), 192 * MIB, 96 * MIB)


class SubHost:
    """A host with a memserver that keeps its pages when it crashes, as under systemd."""

    def __init__(
        self, stack: contextlib.ExitStack, binary: Path, folder: Path, links: Links, number: int,
        options: Sequence[object],
    ) -> None:  # fmt: skip
        host = links.hosts[number]
        folder.mkdir()
        self.links = links
        self.number = number
        self.manager = stack.enter_context(ServiceManager(folder))
        self.memserver = stack.enter_context(
            Memserver(binary, folder, ROOM, PORT, list(options), address=host.address, prefix=host.prefix,
                      manager=self.manager)
        )  # fmt: skip


class Scene:
    """The hosts; the VM runs on the first one: whole, or split over it and two sub-hosts, by what the operation wants.

    A context manager: all ends with it, and every link is whole again.
    """

    def __init__(
        self, binaries: tuple[Path, Path], folder: Path, links: Links, operation: str, replicas: int,
        expires: int | None = None,
    ) -> None:  # fmt: skip
        """binaries are QEMU and the memserver; replicas how many sub-hosts each page is on.

        expires: all speak TLS, and the certificate of the host of that number expires soon.
        """
        self._qemu, memserver = binaries
        self._folder = folder
        self.links = links
        self.operation = operation
        self.replicas = replicas
        self.called_off = False
        self.place = place()
        self.certificates = None if expires is None else Certificates(folder / "pki", links, expires)
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self.sub_hosts = {
                number: SubHost(stack, memserver, folder / f"sub-{number}", links, number, self._options(number))
                for number in SUB_HOSTS
            }
            self.before, self.after = LAYOUTS[operation]
            self._stack = stack
            self.source = self._running_vm()
            self.destination: Vm | None = None
            self._stack = stack.pop_all()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *exception: object) -> None:
        for number in range(LINKS):
            self.links.set_link(number, "up")
            self.links.set_rate(number, 0)
        self._stack.close()

    def _options(self, number: int) -> list[object]:
        """Of the memserver of that number."""
        return self.certificates.memserver(number) if self.certificates else ["--plain"]

    def _vm(self, host: int, name: str, incoming: bool = False) -> Vm:
        vm = start(
            self._qemu,
            self._folder / name,
            self.place.guest,
            memory=f"{self.place.memory // MIB}M",
            accel=self.place.accel,
            incoming=incoming,
            devices=self.certificates.vm(host) if self.certificates else (),
            prefix=self.links.hosts[host].prefix,
        )
        return self._stack.enter_context(vm)

    def _running_vm(self) -> Vm:
        """The VM as it is before the operation."""
        vm = self._vm(DESTINATION if self.before else SOURCE, "first")
        vm.wait_for_guest(lambda status: status["phase"] == "run" and status["accesses"] > 0, timeout=TIMEOUT)
        if not self.before:
            return vm
        split = self._vm(SOURCE, "split", incoming=True)
        self._aim(vm, self.before, split, SOURCE)
        vm.migrate_to(split, address=self.links.hosts[SOURCE].address)
        vm.stop()
        return split

    def layout(self, sub_hosts: Sequence[int]) -> dict[str, Any]:
        """As smemv-set-target and smemv-rebalance want it."""
        if not sub_hosts:
            return {"main_limit": self.place.memory, "sub_hosts": []}
        each = shares(self.place.memory, self.place.limit, len(sub_hosts))
        aims = [self.sub_hosts[n].memserver.sub_host(self.replicas * share) for n, share in zip(sub_hosts, each)]
        return {"main_limit": self.place.limit, "sub_hosts": aims}

    def _aim(self, vm: Vm, sub_hosts: Sequence[int], destination: Vm, host: int) -> None:
        """The VM is to go to that destination, on that host."""
        options = {"tls_creds": CREDENTIALS} if self.certificates and where(vm)["state"] == "whole" else {}
        vm.qmp("smemv-set-target", name=NAME, policy="threshold", replicas=self.replicas, **options,
               **self.layout(sub_hosts))  # fmt: skip
        vm.set_capabilities("return-path")
        if self.certificates:
            encrypt(vm, destination, name(host))

    # -- the operation ------------------------------------------------------------------------------------------------

    @property
    def moves(self) -> bool:
        """Whether the VM goes to another main host."""
        return self.operation != cells.REBALANCE

    def prepare(self) -> None:
        """What a controller does before pages move."""
        if self.moves:
            self.destination = self._vm(DESTINATION, "destination", incoming=True)
            self._aim(self.source, self.after, self.destination, DESTINATION)
            self._uri = self.destination.listen(self.links.hosts[DESTINATION].address)

    def begin(self, when: str) -> None:
        """Let pages move; they do not get far if the fault is to find them on the way, or the VM paused."""
        held = when == cells.MOVING
        if not self.moves:
            bandwidth = {"max_bandwidth": HELD} if held else {}
            self.source.qmp("smemv-rebalance", **self.layout(self.after), **bandwidth)
            return
        if when == cells.SWITCH_OVER:
            self.source.set_capabilities("pause-before-switchover")
        self.source.qmp("migrate-set-parameters", max_bandwidth=HELD if held else 0)
        with contextlib.suppress(QmpCommandError):  # refused: the migration has failed
            self.source.qmp("migrate", uri=self._uri)

    def reach(self, when: str) -> None:
        """Wait until the operation has come so far."""
        if when == cells.SWITCH_OVER:
            wait_until(lambda: self._status() == "pre-switchover" or self.source.migration_has_ended(), TIMEOUT)
        elif when == cells.MOVING and self.moves:
            wait_until(lambda: self.source.qmp("query-migrate").get("ram", {}).get("transferred", 0) > MIB, TIMEOUT)
        elif when == cells.AFTER:
            self.wait()

    def release(self, when: str) -> None:
        """Let it go on at full speed, where it still does."""
        if self.source.process.poll() is not None:
            return
        if when == cells.MOVING and self.moves:
            self.source.qmp("migrate-set-parameters", max_bandwidth=0)
        elif when == cells.MOVING:
            with contextlib.suppress(QmpError):
                self.source.qmp("smemv-rebalance", **self.layout(self.after))
        elif when == cells.SWITCH_OVER and self._status() == "pre-switchover":
            self.source.qmp("migrate-continue", state="pre-switchover")

    def _status(self) -> str:
        return self.source.qmp("query-migrate").get("status", "none")

    def wait(self) -> None:
        """Until the operation has ended, or the source's process; one that takes too long is called off."""
        if not self._ends_within(PATIENCE):
            self._call_off()
            wait_until(self._has_ended, TIMEOUT)

    def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(AssertionError):
            wait_until(self._has_ended, seconds)
            return True
        return False

    def _has_ended(self) -> bool:
        if self.source.process.poll() is not None:
            return True
        if not self.moves:
            return not where(self.source)["rebalancing"]
        if not self.source.migration_has_ended():
            return False
        return self._status() != "completed" or not where(self.destination)["rebalancing"]

    def _call_off(self) -> None:
        """As an operator does, or the playbook's timeout."""
        if self.moves and not self.source.migration_has_ended():
            self.source.qmp("migrate_cancel")
        else:
            self.called_off = True
            vm = self.destination if self.moves else self.source
            vm.qmp("smemv-rebalance", **self.layout(self.before))

    # -- what came of it ----------------------------------------------------------------------------------------------

    def outcome(self) -> str:
        """What became of the VM, which runs on one host at the most."""
        running = [vm for vm in (self.source, self.destination) if vm and runs(vm)]
        assert len(running) <= 1, "it runs twice"
        if not running:
            assert self.source.process.poll() is not None, "it runs nowhere, though its host is there"
            return cells.ENDS
        vm = running[0]
        wrong = vm.run_guest(1)["wrong"]
        assert wrong == 0 and not vm.wrong_lines()
        moved = vm is self.destination or not self.moves
        self.check_layout(vm, self.after if moved and not self.called_off else self.before)
        if moved and self.called_off:
            return cells.KEEPS
        return cells.COMPLETES if moved else cells.STAYS

    def check_layout(self, vm: Vm, sub_hosts: Sequence[int]) -> None:
        """Each memserver has reserved what the layout needs, and no other session; one without power has none."""
        wait_until(lambda: where(vm)["state"] == ("split" if sub_hosts else "whole"))
        wanted = {aim["name"]: aim["share"] for aim in self.layout(sub_hosts)["sub_hosts"]}
        alive = [each.memserver for each in self.sub_hosts.values() if each.memserver.process.poll() is None]

        def off() -> dict[str, dict[str, Any]]:
            """Those that have reserved something else."""
            return {server.name: stat for server in alive
                    if (stat := server.stat())["reserved"] != wanted.get(server.name, 0)}  # fmt: skip

        with contextlib.suppress(AssertionError):
            wait_until(lambda: not off())
        assert not (left := off()), f"wanted {wanted}; there is {left}; the VM says {where(vm)}"


def runs(vm: Vm) -> bool:
    """Whether the VM runs in that process."""
    if vm.process.poll() is not None:
        return False
    try:
        return vm.run_state() == "running"
    except QmpError:
        # It is just about to end.
        vm.process.wait(timeout=TIMEOUT)
        return False


LAYOUTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    cells.SPLIT: ((), (2, 3)),
    cells.REMIGRATE: ((2, 3), (2, 4)),
    cells.CONSOLIDATE: ((2, 3), ()),
    cells.REBALANCE: ((2, 3), (2, 4)),
}
