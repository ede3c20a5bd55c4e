# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations in a random order while memservers crash and come back: no page is wrong, and the VM runs on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.qemu.hosts import Hosts, small
from tests.qemu.memserver import Memserver
from tests.qemu.split import MIB, wait_until
from tests.qemu.test_moves import Journey, settle

pytestmark = pytest.mark.qemu

# How late in an operation a memserver crashes, and how long it is away, in seconds.
LATEST, LONGEST = 3.0, 1.0


class Torture(Journey):
    """A journey on which memservers crash; an operation may fail then, and leaves all as it was."""

    def step(self) -> str:
        operations = [self.migrate, self.rebalance, self.consolidate_here] if self.used else [self.migrate]
        operation = self.random.choice(operations)
        with self.crash():
            outcome = operation()
        settle(self.vm, timeout=120)
        wait_until(self.all_released)
        return f"{operation.__name__}: {outcome or 'done'}"

    def all_released(self) -> bool:
        """Whether only the sub-hosts that are used have sessions; a memserver that was away is asked again."""
        return not any(memserver.stat()["sessions"] for memserver in self.memservers if memserver not in self.used)

    @contextmanager
    def crash(self) -> Iterator[None]:
        """Meanwhile one memserver crashes, and is started again."""
        memserver = self.random.choice(self.memservers)
        late, away = self.random.uniform(0, LATEST), self.random.uniform(0, LONGEST)

        def happen() -> None:
            time.sleep(late)
            memserver.stop()
            time.sleep(away)
            memserver.start()

        thread = threading.Thread(target=happen)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def migrate(self) -> str:
        """To a new main host, slowly or not, with any sub-hosts or none; now and then it is cut off."""
        used, limit = self.used, self.limit
        if used and self.random.random() < 0.3:
            self.used, self.limit = [], self.place.memory
        else:
            self.aim(new_sub_hosts=self.random.random() < 0.7)
        destination = self.migration()
        self.vm.qmp("migrate-set-parameters", max_bandwidth=self.random.choice([0, 64, 128]) * MIB)
        self.vm.qmp("migrate", uri=destination.listen())
        if self.random.random() < 0.2:
            time.sleep(self.random.uniform(0, LATEST))
            self.random.choice([lambda: self.vm.qmp("migrate_cancel"), destination.stop])()
        state = self.vm.wait_for_migration(timeout=120)
        if state["status"] == "completed":
            self.vm.stop()
            self.vm = destination
            return "completed"
        assert self.vm.qmp("query-status")["status"] == "running", state
        self.used, self.limit = used, limit
        destination.stop()
        return state.get("error-desc", state["status"])

    def consolidate_here(self) -> None:
        self.used, self.limit = [], self.place.memory
        self.vm.qmp("smemv-rebalance", **self.layout())


@pytest.mark.nightly
@pytest.mark.timeout(1200, func_only=True)
@pytest.mark.parametrize("seed", range(*map(int, os.environ.get("SMEMV_TORTURES", "1:3").split(":"))))
def test_torture(
    hosts: Hosts, main_host: list[str], start_kept_with_tls: Callable[[], Memserver], seed: int
) -> None:
    """Twenty operations by TLS, and a crash in each. More seeds: SMEMV_TORTURES=FIRST:END."""
    torture = Torture(hosts, small(2), seed, main_host, [start_kept_with_tls() for _ in range(5)])
    for number in range(20):
        outcome = torture.step()
        print(f"{number}: {outcome}; {[memserver.name for memserver in torture.used]}, {torture.limit // MIB} MiB")
        torture.check()
