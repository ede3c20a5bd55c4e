# SPDX-License-Identifier: GPL-3.0-or-later
"""A sequential read of memory that is on two sub-hosts, over links of a rate, beside iperf3 on the main host's link."""

from __future__ import annotations

import statistics
import sys

from lab import links
from native.bench.memserver.iperf import bytes_per_second
from native.bench.pager.touch import Target
from native.bench.report import Report
from native.bench.stage import GIB, Stage
from tests.qemu import guests
from tests.qemu.memserver import free_port
from tests.qemu.split import MIB, PAGE

RATES = (1000, 10000)  # Mbit/s
MEMORY = 1 * GIB
LIMIT = 64 * MIB
PAGES = 120000
SEQUENTIAL_GOAL = 0.7


def measure(report: Report, rounds: int) -> None:
    """Add a row for each rate."""
    for rate in RATES:
        turns = []
        for number in range(rounds):
            with links.up(4) as lab:
                turns.append(turn(lab, rate))
            print(f"a link of {rate} Mbit/s, round {number}: {turns[-1]}", file=sys.stderr)
        read, iperf = (statistics.median(turn[i] for turn in turns) for i in range(2))
        report.at_least(f"sequential read of remote memory, link of {rate} Mbit/s", read, "byte/s",
                        "iperf3", iperf, SEQUENTIAL_GOAL)  # fmt: skip


def turn(lab: links.Hosts, rate: int) -> tuple[float, float]:
    """Bytes a second of the read, and of iperf3 from a sub-host to the main host."""
    with Stage(lab, guests.linux("smemv.fill=768M smemv.rate=10"), MEMORY) as stage:
        source = stage.start_running(0, stock=False)
        stage.aim(source, LIMIT, [2, 3])
        vm = stage.start(1, stock=False, incoming=True)
        stage.move(source, vm, 1)
        vm.qmp("stop")
        vm.qmp("smemv-set-limit", limit=MEMORY, **{"max-bandwidth": PAGE})
        ram = vm.ram_addresses()
        # The lower quarter has most of what the guest's kernel kept free: pages that were never written.
        quarter = len(ram) // 4
        lab.set_rate(1, rate)
        main, sub = lab.hosts[1], lab.hosts[2]
        iperf = bytes_per_second(free_port(), 1, 2, main.address, main.prefix, sub.prefix)
        target = Target(vm.process.pid, ram.start + quarter, 3 * quarter // PAGE)
        return target.touch(PAGES, 1, "sequential")["per_s"] * PAGE, iperf
