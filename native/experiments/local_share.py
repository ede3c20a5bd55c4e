# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's speed by how much of its memory is local: S-memV beside swap on disk and compressed memory (zram)."""

from __future__ import annotations

from lab.links import Hosts
from native.bench.stage import GIB, Stage
from native.experiments.figure3 import OVERHEAD
from native.experiments.limited import Limited, swap
from tests.qemu import guests
from tests.qemu.split import MIB
from tests.qemu.vm import Vm

MEMORY = 512 * MIB
FILLED = 384 * MIB
SHARES = (1.0, 0.75, 0.5, 0.25, 0.1)
PATTERNS = {"uniform": "", "hot set: 95 % of accesses to 10 %": "smemv.pattern=hot:10:95"}
WARM_UP = 10  # seconds
RUN = 10


def run(hosts: Hosts, rounds: int, quick: bool) -> list[dict]:
    """A row for each system, pattern, local share and round."""
    patterns = dict(list(PATTERNS.items())[1:] if quick else PATTERNS)
    local = (0.5,) if quick else SHARES[1:]
    rows = []
    for number in range(rounds):
        for pattern, parameters in patterns.items():
            guest = guests.linux(f"smemv.fill={FILLED // MIB}M smemv.writes=20 {parameters}")
            with Stage(hosts, guest, MEMORY) as stage:
                whole = speed(stage, stage.start_running(0, stock=True))
            for share in local:
                for name, measure in (("S-memV", split), ("swap on disk", on_disk), ("zram", on_zram)):
                    with Stage(hosts, guest, MEMORY) as stage:
                        rate = measure(stage, int(MEMORY * share))
                    print(f"  {pattern}, {share:.0%} local, {name}: {rate:.0f}/s, {rate / whole:.2f} of whole")
                    rows.append({"round": number, "pattern": pattern, "local": share, "system": name, "rate": rate,
                                 "whole": whole})  # fmt: skip
    return rows


def speed(stage: Stage, vm: Vm) -> float:
    """The guest's accesses a second, once it has got used to where it is."""
    first = vm.run_guest(WARM_UP)
    last = vm.run_guest(RUN)
    stage.check(vm)
    return (last["accesses"] - first["accesses"]) / (last["t"] - first["t"])


def split(stage: Stage, limit: int) -> float:
    source = stage.start_running(0, stock=False)
    stage.aim(source, limit, [2, 3], policy="hot")
    target = stage.start(1, stock=False, incoming=True)
    stage.move(source, target, 1)
    return speed(stage, target)


def start_swapped(stage: Stage, limit: int, compressed: bool) -> Vm:
    """The whole VM with so much of its memory in this machine's, and the rest in swap."""
    stage.enter(swap(1 * GIB, compressed))
    limited = stage.enter(Limited(limit + OVERHEAD))
    return stage.start(0, stock=True, prefix=limited.prefix)


def swapped(stage: Stage, limit: int, compressed: bool) -> float:
    vm = start_swapped(stage, limit, compressed)
    vm.wait_for_guest(lambda status: status["phase"] == "run" and status["accesses"] > 0, timeout=900)
    return speed(stage, vm)


def on_disk(stage: Stage, limit: int) -> float:
    return swapped(stage, limit, compressed=False)


def on_zram(stage: Stage, limit: int) -> float:
    """What the compressed pages take is not counted: the guest's pattern cannot be compressed as data can."""
    return swapped(stage, limit, compressed=True)
