# SPDX-License-Identifier: GPL-3.0-or-later
"""Figure 3 on hosts that have processors of their own, as real ones do: a load on one takes nothing from another.

Where they share the machine's, and a move takes all of them, it takes longer by as much as the load takes; that is the
machine's, and not the move's.
"""

from __future__ import annotations

from lab.links import Hosts
from native.experiments.figure3 import LOADS, MEMCACHED, SLOW, SPLIT, moves
from native.experiments.processors import own

# Of the machine's processors: the source, where the guest is and works, the main host and the sub-host, by what they
# take of a split migration; and the source some for the load, as a host of several processors has, so that what the
# move waits for is the main host. What is left is the clients'.
PARTS = (0.55, 0.25, 0.15)
TURNS = 6  # of a split migration, a second of a machine's time; swap waits for its disk, and is alike each time


def run(hosts: Hosts, number: int, quick: bool) -> list[dict]:
    """Rows for each load and way, as figure3.run()."""
    if quick:
        return []
    loads = [*LOADS, MEMCACHED]
    with own(hosts, PARTS) as hosts:
        rows = moves(hosts, 0, loads, [SPLIT] * TURNS + [SLOW])
    return [{**row, "processors": "their own"} for row in rows]
