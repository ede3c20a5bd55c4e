# SPDX-License-Identifier: GPL-3.0-or-later
"""Figure 3 over links of 1 Gbit/s, as the paper's were: with these the lab's processors are not what is short."""

from __future__ import annotations

from lab.links import Hosts
from native.experiments.figure3 import COMPARED, MEMCACHED, moves
from native.experiments.scaling import RATE


def run(hosts: Hosts, number: int, quick: bool) -> list[dict]:
    """A row for each load and way, as figure3.run()."""
    return [] if quick else moves(hosts, RATE, ["idle", MEMCACHED], COMPARED)
