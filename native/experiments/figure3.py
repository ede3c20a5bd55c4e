# SPDX-License-Identifier: GPL-3.0-or-later
"""The paper's Figure 3: a VM of 2 GB to a destination with 1 GB free, by swap there and by a sub-host.

A split migration places pages by an address, as the paper's did, or samples first which are hot. Beside it the ideal:
one-to-one to a destination with enough memory. Idle, with a guest that rewrites random pages, and with memcached in the
guest under load from outside. Links are not shaped here, and hosts share the machine's processors; over_links.py and
own_processors.py have others.

The sub-host's memserver has huge pages, as memserver_huge_pages of the role memserver gives it; what small ones cost is
in cost.py. The VM has small ones wherever it is.

Loads are of a steady rate, of which the machine could do several times as much: hosts of their own would not take
processors from each other. What an emulated guest spends most on is to wake up, so loads come in bunches. memcached is
asked for as many items at once as where it is used in earnest (24 in the mean: Nishtala et al., Scaling Memcache at
Facebook, NSDI 2013): one by one, 1,000 items a second were half of what the guest could do. Pages are rewritten a
hundred at a time: woken each millisecond, for ten, the guest took 0.27 of a processor, and 0.17 so.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lab.links import Hosts
from native.bench.huge_pages import set_aside
from native.bench.saved import Saved
from native.bench.stage import GIB, Stage, capacity, processor, save_running
from native.experiments.limited import Disk, Limited, swap
from native.experiments.memcached.guest import Memcached
from native.experiments.scaling import RATE
from native.experiments.throughput import Throughput
from tests.qemu import guests
from tests.qemu.guests import Guest
from tests.qemu.split import MIB
from tests.qemu.vm import Vm

MEMORY = 2 * GIB
FREE = 1 * GIB
SWAP_SIZE = 4 * GIB
# QEMU itself, beside the guest's memory: one that was migrated to, which has only what it uses, takes 21 to 25 MiB. One
# whose guest booted there has some 80, of which the rest can be swapped out for good.
OVERHEAD = 32 * MIB
# What an ordinary hard disk does at best. To read elsewhere it seeks, for some 8 ms, and waits for half a turn, for 4.
ORDINARY_DISK = Disk(100 * MIB, 200)
# Seconds for a migration onto swap, by the speed of the links: several times what it takes idle.
PATIENCE = {0: 30, RATE: 60}
AT_ONCE = 24  # items that memcached is asked for in one request
# Items a second by the speed of the links: unshaped, processors are what is short.
ITEMS = {0: 1000, RATE: 2000}
STORED = 1312 * MIB  # by which as many bytes move as of the others
BEFORE = 4  # seconds
AFTER = 4


@dataclass(frozen=True)
class Way:
    """How the VM gets there; limited is whether the destination has FREE memory only."""

    name: str
    stock: bool = True
    limited: bool = True
    disk: Disk | None = None  # where it swaps to; this machine's own by default
    policy: str = ""


ENOUGH = Way("one-to-one, enough memory", limited=False)
SPLIT = Way("split migration at an address", stock=False, policy="threshold")
HOT = Way("split migration, hot pages to the main host", stock=False, policy="hot")
SWAP = Way("one-to-one onto swap")
SLOW = Way("one-to-one onto swap on an ordinary disk", disk=ORDINARY_DISK)
WAYS = (ENOUGH, SPLIT, HOT, SWAP, SLOW)
COMPARED = (ENOUGH, SPLIT, SLOW)  # ideal, ours, and today's
# A second or two of a machine's time; swap waits for its disk, and is alike each time. There and back, by moves().
REPEATED = (ENOUGH, SPLIT, SPLIT, SPLIT, SPLIT, ENOUGH)
MEMCACHED = "memcached"
LOADS = {
    "idle": "smemv.fill=1536M smemv.rate=10",
    "rewriting random pages": "smemv.fill=1536M smemv.rate=10000 smemv.writes=50 smemv.sleep=10",
}


def run(hosts: Hosts, number: int, quick: bool) -> list[dict]:
    """A row for each load and way, unshaped: ms, ms of downtime, and the guest's work a second."""
    if quick:
        return moves(hosts, 0, ["rewriting random pages"], COMPARED)
    return moves(hosts, 0, [*LOADS, MEMCACHED], (*REPEATED, HOT, SWAP, SLOW))


def moves(hosts: Hosts, rate: int, loads: Sequence[str], ways: Sequence[Way]) -> list[dict]:
    """A row for each load and way, over links of that speed.

    Loads come in turn, there and back: those that are held against each other are near each other, as a machine's speed
    is not the same for long.
    """
    turns = itertools.cycle((loads, loads[::-1]))
    with contextlib.ExitStack() as stack:
        saved = {load: stack.enter_context(save(hosts, load)) for load in loads}
        stack.enter_context(set_aside(capacity(MEMORY)))
        rows = [
            {"rate_mbit_s": rate, "load": load, **move(hosts, rate, load, saved[load], way)}
            for way, turn in zip(ways, turns)
            for load in turn
        ]
    return sorted(rows, key=lambda row: loads.index(row["load"]))


def save(hosts: Hosts, load: str) -> Saved:
    """A VM that has filled its memory for that load."""
    if load == MEMCACHED:
        with Memcached(hosts, MEMORY, STORED) as memcached, memcached.stage as stage:
            memcached.fill(vm := stage.start(0, stock=True))
            return Saved(vm)
    return save_running(hosts, guest_of(load), MEMORY)


def guest_of(load: str) -> Guest:
    return guests.linux(f"smemv.report=250 {LOADS[load]}")


def move(hosts: Hosts, rate: int, load: str, saved: Saved, way: Way) -> dict:
    """Move a VM once from where it was saved, with that load, to hosts with links of that speed."""
    # Host 0 is left; what it can send is not the question.
    hosts.set_rates(rate, first=1)
    if load == MEMCACHED:
        with Memcached(hosts, MEMORY, STORED, at_once=AT_ONCE, rate=ITEMS[rate]) as memcached, memcached.stage as stage:
            source = stage.resume(0, saved, stock=way.stock)
            memcached.load()
            row = move_stage(stage, source, way, PATIENCE[rate], memcached.served, lambda vm: time.sleep(AFTER))
    else:
        with Stage(hosts, guest_of(load), MEMORY) as stage:
            source = stage.start_running(0, stock=way.stock, saved=saved)
            row = move_stage(stage, source, way, PATIENCE[rate], stage.accesses, lambda vm: stage.check(vm, AFTER))
    ended = f"down {row['downtime_ms']:.0f} ms" if row["completed"] else "and given up"
    print(f"  {load}, {rate} Mbit/s, {way.name}: {row['total_time_ms']:.0f} ms, {ended}")
    return row


def move_stage(
    stage: Stage, source: Vm, way: Way, patience: float, count: Callable[[], int], watch: Callable[[Vm], None]
) -> dict:
    """Move the VM of a stage once; what the guest did meanwhile is told by a count that grows.

    A migration that has not ended after so many seconds is given up. The VM is watched for AFTER seconds, where it is.
    """
    stage.huge_pages = True
    with destination(way) as prefix, Throughput(count) as throughput:
        target = stage.start(1, stock=way.stock, incoming=True, prefix=prefix)
        began, clients = processor(source.process.pid), time.process_time()
        time.sleep(BEFORE)
        guest, clients = processor(source.process.pid) - began, time.process_time() - clients
        if not way.stock:
            stage.aim(source, FREE, [2], policy=way.policy)
        moved = stage.move(source, target, 1, patience)
        watch(target if moved.completed else source)
        time.sleep(1)
        row = {
            "way": way.name,
            "completed": moved.completed,
            "total_time_ms": moved.total_time,
            "downtime_ms": moved.downtime,
            "mib": moved.bytes_of_links[0] / MIB,
            "idle": moved.idle,
            "processor_s": sum(moved.processor.values()),
            "source_s": moved.processor["source"],
            "destination_s": moved.processor["destination"],
            "guest_processors": guest / BEFORE,
            "clients_processors": clients / BEFORE,
            "rate_before": throughput.rate(moved.began - BEFORE + 1, moved.began),
            "rate_during": throughput.rate(moved.began, moved.ended),
            "rate_after": throughput.rate(moved.ended, moved.ended + AFTER),
            "by_second": throughput.by_second(moved.began - BEFORE + 1, moved.ended + AFTER),
            "began_at_second": BEFORE - 1,
        }
        # Its memory is not to be read back from swap before its cgroup goes.
        target.stop()
    return row


@contextlib.contextmanager
def destination(way: Way) -> Iterator[tuple[str, ...]]:
    """A command to run the destination by, in a control group whichever way it is: to count its pages takes time."""
    with contextlib.ExitStack() as stack:
        if way.limited:
            stack.enter_context(swap(SWAP_SIZE, throttled=way.disk is not None))
        memory = FREE + OVERHEAD if way.limited else 2 * MEMORY
        yield stack.enter_context(Limited(memory, way.disk)).prefix
