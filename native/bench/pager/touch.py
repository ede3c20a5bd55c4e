# SPDX-License-Identifier: GPL-3.0-or-later
"""Page faults that are made from outside, in a process that stands still."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from tests.make import BUILD


@dataclass(frozen=True)
class Target:
    """A process whose missing pages can be touched."""

    pid: int
    address: int
    pages: int

    def touch(self, count: int, threads: int, order: str) -> dict[str, float]:
        arguments = (self.pid, self.address, self.pages, count, threads, order)
        done = subprocess.run(
            [BUILD / "bench/pager_faults", *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
        )
        return json.loads(done.stdout)
