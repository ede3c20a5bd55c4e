# SPDX-License-Identifier: GPL-3.0-or-later
"""The hot-set guest with half its memory local, beside the same guest under a memory limit with swap."""

from __future__ import annotations

import statistics
import sys

from lab import links
from native.bench.report import Report
from native.bench.stage import Stage, save_running
from native.experiments.local_share import FILLED, MEMORY, SYSTEMS, speed
from tests.qemu import guests
from tests.qemu.split import MIB

PATTERN = "smemv.pattern=hot:10:95"
WARM_UP = 10  # seconds
RUN = 10


def measure(report: Report, rounds: int) -> None:
    """Add a row for each kind of swap; it is to be no faster."""
    rates: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    guest = guests.linux(f"smemv.fill={FILLED // MIB}M smemv.writes=20 {PATTERN}")
    with links.up(4) as lab:
        with save_running(lab, guest, MEMORY) as saved:
            for number in range(rounds):
                for name, begin in SYSTEMS.items():
                    with Stage(lab, guest, MEMORY) as stage:
                        rates[name].append(speed(begin(stage, saved, MEMORY // 2), WARM_UP, RUN))
                print(f"beside swap, round {number}: {rates}", file=sys.stderr)
    ours = statistics.median(rates.pop("S-memV"))
    for name, found in rates.items():
        report.at_least("guest with half its memory local, 95 % of accesses to 10 % of memory", ours, "1/s",
                        name, statistics.median(found), 1)  # fmt: skip
