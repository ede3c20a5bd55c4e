# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's speed by how much of its memory is local: S-memV beside swap on disk and compressed memory (zram)."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable

from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpError

from lab.links import Hosts
from native.bench.rate import rate
from native.bench.saved import Saved
from native.bench.stage import GIB, Stage
from native.experiments.figure3 import OVERHEAD
from native.experiments.limited import Limited, swap
from tests.qemu import guests
from tests.qemu.split import MIB, PAGE
from tests.qemu.vm import Vm, VmError

# Of which a tenth is the least that a main host may have of a VM, 64 MiB.
MEMORY = 640 * MIB
FILLED = 480 * MIB
SHARES = (0.75, 0.5, 0.25, 0.1)
PATTERNS = {
    "uniform": "",
    "zipf: 0.99, the pages strewn": "smemv.pattern=zipf:strewn",
    "hot set: 95 % of accesses to 10 %": "smemv.pattern=hot:10:95",
}
WARM_UP = 3  # seconds
RUN = 3
ENDED = 10  # by when a VM that was killed has


def run(hosts: Hosts, number: int, quick: bool) -> list[dict]:
    """A row for each system, pattern and local share; the rate of a guest that the kernel has killed is 0."""
    patterns, shares, systems = PATTERNS, SHARES, SYSTEMS
    if quick:
        patterns, shares, systems = dict([*PATTERNS.items()][-1:]), (0.5,), dict([*SYSTEMS.items()][:2])
    rows = []
    for pattern, parameters in patterns.items():
        guest = guests.linux(f"smemv.fill={FILLED // MIB}M smemv.writes=20 {parameters}")
        with Stage(hosts, guest, MEMORY) as stage:
            whole = speed(vm := stage.start_running(0, stock=True))
            saved = Saved(vm)
        with saved:
            for share, (name, begin) in itertools.product(shares, systems.items()):
                with Stage(hosts, guest, MEMORY) as stage:
                    try:
                        found = speed(begin(stage, saved, int(MEMORY * share) // PAGE * PAGE))
                    except (VmError, QmpError):
                        # Where all that a guest has is in use the kernel may find nothing to swap out, and kill it.
                        # Its connection ends a moment before it does.
                        if begin is split or stage.vms[-1].process.wait(ENDED) != -signal.SIGKILL:
                            raise
                        found = 0.0
                print(f"  {pattern}, {share:.0%} local, {name}: {found:.0f}/s, {found / whole:.2f} of whole")
                rows.append({"pattern": pattern, "local": share, "system": name, "rate": found, "whole": whole})
    return rows


def speed(vm: Vm, warm_up: float = WARM_UP, run_for: float = RUN) -> float:
    """The guest's accesses a second, once it has got used to where it is; fails if it has ever seen a wrong page."""
    vm.run_guest(warm_up)
    return rate(vm, run_for)


def split(stage: Stage, saved: Saved, limit: int) -> Vm:
    source = stage.start_running(0, stock=False, saved=saved)
    stage.aim(source, limit, [2, 3], policy="hot")
    target = stage.start(1, stock=False, incoming=True)
    stage.move(source, target, 1)
    return target


def short_of_memory(stage: Stage, limit: int, compressed: bool) -> Limited:
    """So much memory for a VM of that stage, and swap for the rest."""
    stage.enter(swap(1 * GIB, compressed))
    return stage.enter(Limited(limit + OVERHEAD))


def swapped(stage: Stage, saved: Saved, limit: int, compressed: bool) -> Vm:
    limited = short_of_memory(stage, limit, compressed)
    return stage.start_running(0, stock=True, saved=saved, prefix=limited.prefix)


# Each gives the VM with so many bytes of its memory local. What zram's compressed pages take is not counted: the
# guest's pattern cannot be compressed as data can.
SYSTEMS: dict[str, Callable[[Stage, Saved, int], Vm]] = {
    "S-memV": split,
    "swap on disk": lambda *of: swapped(*of, compressed=False),
    "zram": lambda *of: swapped(*of, compressed=True),
}
