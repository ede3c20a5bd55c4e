# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest waits for that stands still: what its processors, interrupts and tasks are at, on a page or two."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.qemu.vm import Vm

OF_A_PROCESSOR = re.compile(r"RIP=\S+|HLT=\d|current_count = \d+|I[RS]R\t.*")
TASK = re.compile(r"task:(\S+) +state:(\S).* pid:(\d+)")
CALL = re.compile(r"\]  (\w\S*)\+0x")
PROGRAM = "init"
PANIC = 10  # seconds that a guest has to say what its tasks are at


def describe(vm: Vm) -> str:
    """Lines about a guest, which does not survive it where it is a Linux of guests.linux()."""
    lines = [line for _ in range(2) for line in _processors(vm)]
    lines += [line for line in _monitor(vm, "info pic").splitlines() if "masked" not in line]
    return "\n".join(lines + _tasks(vm))


def _monitor(vm: Vm, command: str, **arguments: int) -> str:
    return vm.qmp("human-monitor-command", command_line=command, **arguments)


def _processors(vm: Vm) -> list[str]:
    """A line for each processor: where it is, whether it is halted, its timer, and interrupts that wait."""
    return [
        f"processor {cpu['cpu-index']}: "
        + " ".join(
            found
            for command in ("info registers", "info lapic")
            for found in OF_A_PROCESSOR.findall(_monitor(vm, command, cpu_index=cpu["cpu-index"]))
        )
        for cpu in vm.qmp("query-cpus-fast")
    ]


def _tasks(vm: Vm) -> list[str]:
    """A line for each thread of the guest's program: its state and calls in the kernel; see guests.TELLS_BY_NMI."""
    before = len(vm.console_lines())
    vm.qmp("inject-nmi")
    deadline = time.monotonic() + PANIC
    while vm.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    found: list[str] = []
    of_program = False
    for line in vm.console_lines()[before:]:
        if task := TASK.search(line):
            of_program = task[1] == PROGRAM
            if of_program:
                found.append(f"task {task[3]}, {task[2]}:")
        elif of_program and (call := CALL.search(line)):
            found[-1] += f" {call[1]}"
    return found
