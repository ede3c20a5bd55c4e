# SPDX-License-Identifier: GPL-3.0-or-later
"""What stays on the main host at a split migration, where pages are chosen one by one, or in parts of several. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

LOOKS = 64  # while the use is sampled; how often one finds a page touched is how hot it is


def found(trace: Sequence[int], unit: int, share: int) -> int:
    """Pages that are touched after a split migration and are on the main host, each counted once.

    The first half of the trace is what the choice goes by, the second half is after it. The main host has room for one
    in share of all pages, and takes the hottest parts, of unit pages with addresses beside each other.
    """
    sampled, after = trace[: len(trace) // 2], trace[len(trace) // 2 :]
    pages = set(trace)
    parts: dict[int, set[int]] = defaultdict(set)
    for page in pages:
        parts[page // unit].add(page)
    heat: dict[int, int] = defaultdict(int)
    step = -(-len(sampled) // LOOKS)
    for begin in range(0, len(sampled), step):
        for page in set(sampled[begin : begin + step]):
            heat[page // unit] += 1
    room = len(pages) // share
    local: set[int] = set()
    for part in sorted(parts, key=lambda part: heat[part] / len(parts[part]), reverse=True):
        local.update(sorted(parts[part])[: room - len(local)])
    return len(set(after) & local)
