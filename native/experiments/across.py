# SPDX-License-Identifier: GPL-3.0-or-later
"""The way there, across, and back, beside one-to-one: time, and bytes by link."""

from __future__ import annotations

from lab.links import Hosts
from native.bench import operations
from tests.qemu.split import MIB

RATE = 1000  # Mbit/s
LOAD = "smemv.rate=1000 smemv.writes=50"


def run(hosts: Hosts, number: int, quick: bool) -> list[dict]:
    """A row for each operation."""
    hosts.set_rates(RATE)
    rows = []
    for operation, moved in operations.each(hosts, LOAD):
        links = [round(count / MIB, 1) for count in moved.bytes_of_links]
        print(f"  {operation}: {moved.total_time:.0f} ms, {links} MiB by link")
        rows.append(
            {
                "operation": operation,
                "total_time_ms": moved.total_time,
                "downtime_ms": moved.downtime,
                "mib_of_links": links,
            }
        )
    return rows
