# SPDX-License-Identifier: GPL-3.0-or-later
"""Page faults that are made from outside, in a process that stands still."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from tests.make import BUILD

# Of a machine with two processors: one for what is on the main host, and one for sub-hosts.
MAIN_HOST, SUB_HOSTS = 0, 1


def pin(processes: Iterable[int], processor: int | None) -> None:
    """All threads of these processes run on that processor only, or with None on any."""
    processors = f"0-{os.cpu_count() - 1}" if processor is None else str(processor)
    for pid in processes:
        subprocess.run(["taskset", "--all-tasks", "--cpu-list", "--pid", processors, str(pid)], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A process whose missing pages can be touched."""

    pid: int
    address: int
    pages: int

    def touch(self, count: int, threads: int, order: str, processor: int | None = None) -> dict[str, float]:
        """Touch so many of its missing pages, from a processor or from any; times in us."""
        taskset = [] if processor is None else ["taskset", "--cpu-list", str(processor)]
        arguments = (self.pid, self.address, self.pages, count, threads, order)
        done = subprocess.run(
            [*taskset, BUILD / "bench/pager_faults", *map(str, arguments)], check=True, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        return json.loads(done.stdout)
