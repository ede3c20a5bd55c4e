# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that is split, on loopback, and then runs a random load that does not fit on its main host: for benchmarks."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.qemu import binaries, guests
from tests.qemu.memserver import Memserver
from tests.qemu.split import MIB, set_target, where
from tests.qemu.vm import Vm, start

MEMORY = 768 * MIB
LIMIT = 256 * MIB
LOAD = "smemv.fill=512M smemv.rate=1000000 smemv.writes=50"
RUN = 8  # seconds


@dataclass(frozen=True)
class Sample:
    """Milliseconds of the migration; then pages that came in and the guest's accesses, a second."""

    migration: float
    pages_in: float
    rate: float


@dataclass(frozen=True)
class LoadedVm:
    """The VM, its sub-hosts, and what was measured."""

    vm: Vm
    memservers: Sequence[Memserver]
    sample: Sample


@contextlib.contextmanager
def loaded(
    capacities: Sequence[int],
    options: Sequence[object] = (),
    devices: Sequence[str] = (),
    prepare: Callable[[Vm, Vm], None] = lambda source, destination: None,
    **target: object,
) -> Iterator[LoadedVm]:
    """Split it over memservers of those capacities and options, and measure; target is for smemv-set-target."""
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smemv-")))
        memservers = [
            stack.enter_context(Memserver(binaries.memserver(), place / f"sub-{number}", size, options=options))
            for number, size in enumerate(capacities, start=1)
        ]
        binary, guest = binaries.qemu_build() / "qemu-system-x86_64", guests.linux(LOAD)
        machine = {"memory": f"{MEMORY // MIB}M", "devices": devices}
        source = stack.enter_context(start(binary, place / "source", guest, **machine))
        vm = stack.enter_context(start(binary, place / "destination", guest, incoming=True, **machine))
        source.wait_for_guest(lambda status: status["phase"] == "run" and status["accesses"] > 0, timeout=300)
        set_target(source, "bench", MEMORY, LIMIT, memservers, **target)
        prepare(source, vm)
        # One that dirties memory faster than it is sent would not end.
        source.qmp("stop")
        state = source.migrate_to(vm, timeout=300)
        source.stop()
        vm.qmp("cont")
        first, pages = vm.wait_for_guest(lambda status: True, timeout=60), where(vm)["pages-in"]
        last = vm.run_guest(RUN)
        check_right(vm)
        seconds = last["t"] - first["t"]
        sample = Sample(
            state["total-time"],
            (where(vm)["pages-in"] - pages) / seconds,
            (last["accesses"] - first["accesses"]) / seconds,
        )
        yield LoadedVm(vm, memservers, sample)


def check_right(vm: Vm) -> None:
    """Raise if the guest has seen a wrong page."""
    if vm.wrong_lines():
        raise RuntimeError(f"wrong pages: {vm.wrong_lines()[:3]}")
