# SPDX-License-Identifier: GPL-3.0-or-later
"""Each operation of the collection on one VM, in turn, beside a one-to-one migration by stock QEMU: for benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

from lab.links import Hosts
from native.bench.stage import GIB, Move, Stage
from tests.qemu import guests
from tests.qemu.vm import Vm

HOSTS = 4
MEMORY = 1 * GIB
LIMIT = MEMORY // 2
FILLED = "smemv.fill=768M"
ONE_TO_ONE = "one-to-one"
# What is done, to which main host, with which sub-hosts. The VM begins on host 0.
OPERATIONS = (
    ("split migration", 1, (2, 3)),
    ("re-migration", 0, (3, 1)),
    ("consolidation", 1, ()),
)


def each(hosts: Hosts, load: str) -> Iterator[tuple[str, Move]]:
    """ONE_TO_ONE and the OPERATIONS with what each took, of a guest with that load; a wrong page is an error."""
    guest = guests.linux(f"{FILLED} {load}")
    with Stage(hosts, guest, MEMORY) as stage:
        yield ONE_TO_ONE, move(stage, stage.start_running(0, stock=True), 1, stock=True)
    with Stage(hosts, guest, MEMORY) as stage:
        for host in range(HOSTS):
            stage.serve(host)
        vm = stage.start_running(0, stock=False)
        for operation, host, sub_hosts in OPERATIONS:
            stage.aim(vm, LIMIT if sub_hosts else MEMORY, sub_hosts)
            yield operation, move(stage, vm, host, stock=False)
            vm = stage.vms[-1]


def move(stage: Stage, vm: Vm, host: int, *, stock: bool) -> Move:
    """Move the VM to a new process on a host, and see that the guest is well there."""
    target = stage.start(host, stock=stock, incoming=True)
    moved = stage.move(vm, target, host)
    stage.check(target)
    return moved
