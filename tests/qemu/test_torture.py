# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations in a random order while memservers and their links fail: no page is wrong, and the VM runs on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpCommandError

from lab import links
from tests.native.certificates import Authority
from tests.qemu import binaries
from tests.qemu.fault_matrix.scene import SubHost
from tests.qemu.hosts import REPORTING, Hosts, churning
from tests.qemu.split import MIB, wait_until, where
from tests.qemu.test_moves import Journey

pytestmark = pytest.mark.qemu

# How late in an operation a fault comes, and how long it lasts at the most, in seconds.
LATEST, LONGEST = 3.0, 6.0
MEMSERVERS = 5
SLOW = 5  # Mbit/s
SILENCE = 3.0  # seconds, after which a sub-host that was not heard counts as failed: lookout.c, and a round of asking


class Place(SubHost):
    """What may befall a sub-host."""

    def crash(self, seconds: float) -> None:
        self.memserver.stop()
        time.sleep(seconds / 6)
        self.memserver.start()

    def stall(self, seconds: float) -> None:
        self.memserver.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.memserver.process.send_signal(signal.SIGCONT)

    def lose(self, seconds: float) -> None:
        """Its host loses its power, and is back with nothing."""
        self.memserver.stop()
        self.manager.forget()
        time.sleep(seconds / 6)
        self.memserver.start()

    def cut(self, seconds: float) -> None:
        self._link("down", seconds)

    def mute(self, seconds: float) -> None:
        self._link("mute", seconds)

    def deafen(self, seconds: float) -> None:
        self._link("deaf", seconds)

    def slow(self, seconds: float) -> None:
        self.links.set_rate(self.number, SLOW)
        time.sleep(seconds)
        self.links.set_rate(self.number, 0)

    def _link(self, state: str, seconds: float) -> None:
        self.links.set_link(self.number, state)
        time.sleep(seconds)
        self.links.set_link(self.number, "up")


class Torture(Journey):
    """A journey amid faults; an operation may fail then, and leaves all as it was."""

    places: dict[str, Place]  # by the memservers' names

    def step(self) -> str:
        operations = [self.migrate, self.rebalance, self.consolidate_here, self.set_limit]
        operation = self.random.choice(operations if self.used else [self.migrate])
        print(operation.__name__, flush=True)
        with self.fault() as fault:
            outcome = operation()
        said = f"{operation.__name__} and {fault}: {outcome or 'done'}"
        if self.replicas > 1:
            # One that is heard again may be given up yet, for what was lost is sent again later and later.
            time.sleep(SILENCE)
        try:
            wait_until(self.has_recovered, timeout=180)
        except AssertionError as error:
            stats = {memserver.name: memserver.stat() for memserver in self.memservers}
            raise AssertionError(f"{said}: {where(self.vm)}, {stats}") from error
        return said

    def has_recovered(self) -> bool:
        """Whether all is as if no fault had been; what was lost is replaced."""
        info = where(self.vm)
        if self.replace_lost(info):
            return False
        with_session = [memserver for memserver in self.memservers if memserver.stat()["sessions"]]
        return (
            not info["rebalancing"]
            and set(with_session) == set(self.used)
            and (self.replicas == 1 or not info["single"])
            and (not self.used or info["resident"] <= self.limit)
        )

    @contextmanager
    def fault(self) -> Iterator[str]:
        """Meanwhile a memserver or its link fails. For good only if each page has another copy."""
        candidates = self.used if self.used and self.random.random() < 0.7 else self.memservers
        place = self.places[self.random.choice(candidates).name]
        kinds = [place.crash, place.stall, place.cut, place.mute, place.deafen, place.slow]
        befall = self.random.choice(kinds + ([place.lose] if self.replicas > 1 else []))
        late, seconds = self.random.uniform(0, LATEST), self.random.uniform(0, LONGEST)

        def happen() -> None:
            time.sleep(late)
            befall(seconds)

        thread = threading.Thread(target=happen)
        thread.start()
        try:
            yield f"{befall.__name__} {place.memserver.name}"
        finally:
            thread.join()

    def replace_lost(self, info: dict[str, Any]) -> bool:
        """Use others instead of the sub-hosts that the VM has lost, if any, as an operator would."""
        known = {host["name"]: host["failed"] for host in info["sub-hosts"]}
        lost = [memserver for memserver in self.used if known.get(memserver.name, True)]
        if not lost:
            return False
        self.used = [memserver for memserver in self.used if memserver not in lost]
        others = [memserver for memserver in self.memservers if memserver not in (*self.used, *lost)]
        self.used += others[: max(self.replicas - len(self.used), 0)]
        self.vm.qmp("smemv-rebalance", **self.layout())
        return True

    def set_limit(self) -> None:
        """Up, and down again to what the shares allow, if no sub-host was lost meanwhile."""
        self.vm.qmp("smemv-set-limit", limit=self.limit + self.random.randrange(32) * MIB)
        time.sleep(self.random.uniform(0, LATEST))
        with suppress(QmpCommandError):
            self.vm.qmp("smemv-set-limit", limit=self.limit)

    def migrate(self) -> str:
        """To a new main host, slowly or not, with any sub-hosts or none; now and then it is cut off."""
        before = self.used, self.limit, self.spare
        if self.used and self.random.random() < 0.3:
            self.used, self.limit = [], self.place.memory
        else:
            self.aim(new_sub_hosts=self.random.random() < 0.7)
        destination = self.migration()
        cut_off = self.random.random() < 0.2
        # One that is cut off has not ended by then: the limit is 64 MiB at least, and LATEST 3 s.
        # The guest writes some 60 MiB/s, and a migration at less would not end.
        bandwidth = 16 if cut_off else self.random.choice([0, 96, 128])
        self.vm.qmp("migrate-set-parameters", max_bandwidth=bandwidth * MIB)
        self.vm.qmp("migrate", uri=destination.listen())
        if cut_off:
            time.sleep(self.random.uniform(0, LATEST))
            self.random.choice([lambda: self.vm.qmp("migrate_cancel"), destination.stop])()
        state = self.vm.wait_for_migration(timeout=120)
        if state["status"] == "completed":
            self.vm.stop()
            self.vm = destination
            return "completed"
        assert self.vm.run_state() == "running", state
        self.used, self.limit, self.spare = before
        destination.stop()
        return state.get("error-desc", state["status"])

    def consolidate_here(self) -> None:
        self.used, self.limit = [], self.place.memory
        self.vm.qmp("smemv-rebalance", **self.layout())


@pytest.fixture
def places(authority: Authority, tmp_path: Path, socket_folder: Path) -> Iterator[list[Place]]:
    """Memservers that speak TLS."""
    with ExitStack() as stack:
        lab = stack.enter_context(links.up(MEMSERVERS))
        names = ",".join(["DNS:sub", *(f"IP:{host.address}" for host in lab.hosts)])
        peers = tmp_path / "peers"
        peers.write_text("main-1\nsub\n")
        options = ["--tls", authority.issue(tmp_path / "sub", "sub", names), "--peers", peers]
        yield [
            Place(stack, binaries.memserver(), socket_folder / f"sub-{n}", lab, n, options) for n in range(MEMSERVERS)
        ]


@pytest.mark.nightly
@pytest.mark.timeout(1800, func_only=True)
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("seed", range(*map(int, os.environ.get("SMEMV_TORTURES", "1:3").split(":"))))
def test_torture(hosts: Hosts, main_host: list[str], places: list[Place], seed: int, replicas: int) -> None:
    """Twenty operations by TLS, and a fault in each. More seeds: SMEMV_TORTURES=FIRST:END."""
    devices = [*main_host, *REPORTING]
    torture = Torture(hosts, churning(2), seed, devices, [place.memserver for place in places], replicas=replicas)
    torture.places = {place.memserver.name: place for place in places}
    for number in range(20):
        outcome = torture.step()
        print(f"{number}: {outcome}; {[memserver.name for memserver in torture.used]}, {torture.limit // MIB} MiB")
        torture.check()
