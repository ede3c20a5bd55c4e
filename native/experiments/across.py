# SPDX-License-Identifier: GPL-3.0-or-later
"""The way there, across, and back, beside one-to-one: time, and bytes by link."""

from __future__ import annotations

from native.bench.hosts import Hosts
from native.experiments.stage import GIB, Stage
from tests.qemu import guests
from tests.qemu.split import MIB

MEMORY = 1 * GIB
LIMIT = MEMORY // 2
RATE = 1000  # Mbit/s
PARAMETERS = "smemv.fill=768M smemv.rate=1000 smemv.writes=50"


def run(hosts: Hosts, rounds: int, quick: bool) -> list[dict]:
    """A row for each operation and round."""
    for host in range(len(hosts.hosts)):
        hosts.set_rate(host, RATE)
    rows = []
    for number in range(rounds):
        rows += [{"round": number, **row} for row in one_round(hosts)]
    for host in range(len(hosts.hosts)):
        hosts.set_rate(host, 0)
    return rows


def one_round(hosts: Hosts) -> list[dict]:
    rows = []
    with Stage(hosts, guests.linux(PARAMETERS), MEMORY) as stage:
        source = stage.start_running(0, stock=True)
        target = stage.start(1, stock=True, incoming=True)
        rows.append(row("one-to-one by stock QEMU", stage.move(source, target, 1)))
    with Stage(hosts, guests.linux(PARAMETERS), MEMORY) as stage:
        for host in (1, 2, 3):
            stage.serve(host)
        vm = stage.start_running(0, stock=False)
        for operation, host, sub_hosts in (
            ("split migration", 1, (2, 3)),
            ("re-migration", 0, (3, 1)),
            ("consolidation", 2, ()),
        ):
            stage.aim(vm, LIMIT if sub_hosts else MEMORY, sub_hosts)
            target = stage.start(host, stock=False, incoming=True)
            rows.append(row(operation, stage.move(vm, target, host)))
            stage.check(target)
            vm = target
    return rows


def row(operation: str, moved) -> dict:
    print(f"  {operation}: {moved.total_time:.0f} ms, {[count // MIB for count in moved.bytes_of_links]} MiB by link")
    return {
        "operation": operation,
        "total_time_ms": moved.total_time,
        "downtime_ms": moved.downtime,
        "mib_of_links": [round(count / MIB, 1) for count in moved.bytes_of_links],
    }
