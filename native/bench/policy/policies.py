# SPDX-License-Identifier: GPL-3.0-or-later
"""Which page leaves when another comes in: policies, and how many misses each has on a trace.

A trace is a list of page numbers, in the order of their accesses. Pure.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Sequence


def first_in_first_out(trace: Sequence[int], frames: int) -> int:
    """Pages leave in the order in which they came. Returns the misses."""
    held: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for page in trace:
        if page not in held:
            misses += 1
            if len(held) == frames:
                held.popitem(last=False)
            held[page] = None
    return misses


def staged(trace: Sequence[int], frames: int, staging: int) -> tuple[int, int]:
    """The pager's: of the frames, the ones that are oldest lie in staging, and a page touched there comes anew.

    Known as segmented first-in-first-out (Turner and Levy, SIGMETRICS 1981). Returns the misses, and the touches in
    staging: each of those is a page fault too, served without the network.
    """
    held: OrderedDict[int, None] = OrderedDict()
    waiting: OrderedDict[int, None] = OrderedDict()
    misses = touches = 0
    for page in trace:
        if page in held:
            continue
        if page in waiting:
            touches += 1
            del waiting[page]
        else:
            misses += 1
            if len(held) + len(waiting) == frames:
                (waiting or held).popitem(last=False)
        held[page] = None
        if len(held) > frames - staging:
            oldest, _none = held.popitem(last=False)
            waiting[oldest] = None
    return misses, touches


def least_recently_used(trace: Sequence[int], frames: int) -> int:
    """The page leaves that was not touched for longest, which nobody can know without a fault for each. The misses."""
    held: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for page in trace:
        if page in held:
            held.move_to_end(page)
            continue
        misses += 1
        if len(held) == frames:
            held.popitem(last=False)
        held[page] = None
    return misses


def oracle(trace: Sequence[int], frames: int) -> int:
    """The page leaves that is wanted again last (Belady, IBM Systems Journal 1966): no policy has fewer. The misses."""
    never = len(trace)
    wanted_next, next_of = [never] * len(trace), {}
    for time in range(len(trace) - 1, -1, -1):
        wanted_next[time] = next_of.get(trace[time], never)
        next_of[trace[time]] = time
    held: dict[int, int] = {}
    latest: list[tuple[int, int]] = []
    misses = 0
    for time, page in enumerate(trace):
        if page not in held:
            misses += 1
            while len(held) == frames:
                when, victim = heapq.heappop(latest)
                # What was wanted earlier meanwhile has another entry.
                if held.get(victim) == -when:
                    del held[victim]
        held[page] = wanted_next[time]
        heapq.heappush(latest, (-wanted_next[time], page))
    return misses
