# SPDX-License-Identifier: GPL-3.0-or-later
"""memcached in the guest with half its memory local, loaded from outside: beside the whole VM, and swap."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable

from lab import links
from native.bench.report import Report
from native.bench.stage import Stage
from native.experiments.local_share import short_of_memory
from native.experiments.memcached.guest import Memcached
from tests.qemu.split import MIB
from tests.qemu.vm import Vm

MEMORY = 512 * MIB
STORED = 320 * MIB
HOT = 0.95  # of the requests, for a tenth of the items
WARM_UP = 10  # seconds
RUN = 15
WHAT = "memcached with half its memory local"


def split(stage: Stage, begin: Callable[[Vm], None]) -> None:
    """Start the VM, call what fills and loads it, and send half of its memory to two sub-hosts."""
    source = stage.start(0, stock=False)
    begin(source)
    stage.aim(source, MEMORY // 2, [2, 3], policy="hot")
    stage.move(source, stage.start(1, stock=False, incoming=True), 1)


def swapped(stage: Stage, begin: Callable[[Vm], None], compressed: bool) -> None:
    limited = short_of_memory(stage, MEMORY // 2, compressed)
    begin(stage.start(0, stock=True, prefix=limited.prefix))


SYSTEMS: dict[str, Callable[[Stage, Callable[[Vm], None]], None]] = {
    "S-memV": split,
    "whole": lambda stage, begin: begin(stage.start(0, stock=True)),
    "swap on disk": lambda stage, begin: swapped(stage, begin, compressed=False),
    "zram": lambda stage, begin: swapped(stage, begin, compressed=True),
}


def measure(report: Report, rounds: int) -> None:
    """Add rows for throughput and for the 99th percentile of how long a request takes."""
    rates: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    slowest: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    with links.up(4) as lab:
        for number in range(rounds):
            for name, system in SYSTEMS.items():
                with Memcached(lab, MEMORY, STORED, HOT) as memcached, memcached.stage as stage:
                    system(stage, memcached.begin)
                    memcached.answers(WARM_UP)
                    took = memcached.answers(RUN)
                rates[name].append(len(took) / RUN)
                slowest[name].append(statistics.quantiles(took, n=100)[98] * 1000)
            print(f"memcached, round {number}: {rates}, {slowest}", file=sys.stderr)
    rate, slow = ({name: statistics.median(found) for name, found in each.items()} for each in (rates, slowest))
    our_rate, our_slow = rate.pop("S-memV"), slow.pop("S-memV")
    for other in rate:
        # How near it comes to the whole VM is told; no part of it is promised.
        least, most = (0, math.inf) if other == "whole" else (1, 1)
        report.at_least(f"{WHAT}, requests", our_rate, "1/s", other, rate[other], least)
        report.at_most(f"{WHAT}, p99", our_slow, "ms", other, slow[other], most)
