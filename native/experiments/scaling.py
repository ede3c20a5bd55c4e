# SPDX-License-Identifier: GPL-3.0-or-later
"""How split migration grows: by the VM's size, by its sub-hosts, the speed of their links, and connections to each."""

from __future__ import annotations

import contextlib

from lab.links import Hosts
from native.bench.saved import Saved
from native.bench.stage import GIB, Stage, save_running
from tests.qemu import guests
from tests.qemu.guests import Guest
from tests.qemu.split import MIB, PAGE

RATE = 1000  # Mbit/s
# A page of 4 KiB has so many bytes on the link, by TCP over Ethernet and with its own header.
BYTES_A_PAGE = PAGE * 1.06
SIZES = (1, 2, 4, 8)  # GiB
SUB_HOSTS = (1, 2, 3, 6)
CONNECTIONS = (1, 2, 4, 8)  # to each sub-host
FILLED = 3 / 4
# Of its limit a main host leaves as much free, for what comes in.
SPARE = 1 / 32


def run(hosts: Hosts, number: int, quick: bool) -> list[dict]:
    """A row for each size, number of sub-hosts, speed and number of connections."""
    cases = [(1, count, RATE, 1) for count in (0, 2)]
    if not quick:
        cases = [(size, count, 0, 1) for size in SIZES for count in (0, 3)]
        cases += [(2, count, rate, 1) for rate in (0, RATE) for count in (0, *SUB_HOSTS)]
        cases += [(2, 2, rate, connections) for rate in (0, RATE) for connections in CONNECTIONS]
    rows = []
    for size in dict.fromkeys(size for size, *_case in cases):
        some = [case for of, *case in dict.fromkeys(cases) if of == size]
        with contextlib.ExitStack() as stack:
            # A saved VM takes its size of the machine's memory, and pays where most cases are.
            memory, saved = size * GIB, None
            if len(some) > len(SIZES):
                saved = stack.enter_context(save_running(hosts, guest_of(memory), memory))
            rows += [move(hosts, memory, saved, *case) for case in some]
    return rows


def guest_of(memory: int) -> Guest:
    return guests.linux(f"smemv.fill={int(memory * FILLED) // MIB}M smemv.rate=10")


def move(hosts: Hosts, memory: int, saved: Saved | None, sub_hosts: int, rate: int, connections: int) -> dict:
    """Move a VM once: to a main host and so many sub-hosts, each with the same part of it, or with none one-to-one.

    Pages are divided by chance. By an address the main host would have less of what the guest has filled, as not all of
    the lowest addresses are in use, and links would not be done at the same time.
    """
    # Host 0 is left; what it can send is not the question.
    hosts.set_rates(rate, first=1)
    with Stage(hosts, guest_of(memory), memory) as stage:
        stock = not sub_hosts
        source = stage.start_running(0, stock=stock, saved=saved)
        if sub_hosts:
            limit = int(memory / (sub_hosts + 1) / (1 - SPARE)) // PAGE * PAGE
            stage.aim(source, limit, range(2, 2 + sub_hosts), connections=connections, policy="random")
        target = stage.start(1, stock=stock, incoming=True)
        moved = stage.move(source, target, 1)
        stage.check(target)
    ideal = memory * FILLED / PAGE * BYTES_A_PAGE * 8 / (rate * 1e6 * (sub_hosts + 1)) * 1000 if rate else None
    print(f"  {memory // GIB} GiB, {sub_hosts} sub-hosts by {connections}, {rate} Mbit/s: {moved.total_time:.0f} ms")
    return {
        "memory_gib": memory // GIB,
        "sub_hosts": sub_hosts,
        "rate_mbit_s": rate,
        "connections": connections,
        "total_time_ms": moved.total_time,
        "downtime_ms": moved.downtime,
        "ideal_ms": ideal,
    }
