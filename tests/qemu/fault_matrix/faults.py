# SPDX-License-Identifier: GPL-3.0-or-later
"""What can befall a host, a program or a link in a scene: each has a beginning, and most an end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.qemu.fault_matrix import cells
from tests.qemu.fault_matrix.scene import DESTINATION, LAYOUTS, PORT, SOURCE, Scene, SubHost

SLOW = 2  # Mbit/s
SHORT = 5  # seconds
# Longer than it takes until a host that is silent counts as lost.
LONG = 15
CHECKOUT = Path(__file__).resolve().parents[3]
LINK_STATES = {cells.CUT: "down", cells.CUT_LONG: "down", cells.MUTE: "mute", cells.DEAF: "deaf"}


class Fault:
    """How something befalls a party of the scene."""

    def __init__(self, scene: Scene, number: int, how: str) -> None:
        """number is the host's."""
        self._scene = scene
        self._how = how
        self._number = number

    def last(self) -> None:
        """Let it last as long as it does, and end it, if it ends."""
        if self._how not in cells.FINAL:
            time.sleep(LONG if self._how == cells.CUT_LONG else 1 if self._how == cells.CRASHED else SHORT)
            self.end()

    @property
    def stops_source(self) -> bool:
        """Whether the source's QEMU can be asked nothing meanwhile."""
        return self._number == SOURCE and self._how in (cells.STOPPED, *cells.FINAL)

    def begin(self) -> None:
        if self._how in LINK_STATES:
            self._scene.links.set_link(self._number, LINK_STATES[self._how])
        elif self._how == cells.SLOW:
            self._scene.links.set_rate(self._number, SLOW)
        elif self._how == cells.STOPPED:
            self._process.send_signal(signal.SIGSTOP)
        elif self._how == cells.EXPIRED:
            self._scene.certificates.wait_until_one_expires()
        elif self._how == cells.FULL:
            self._fill()
        else:
            if self._how == cells.POWER:
                self._scene.links.set_link(self._number, "down")
            self._process.kill()
            self._process.wait()
            if self._how == cells.POWER and self._sub_host:
                self._sub_host.manager.forget()

    def end(self) -> None:
        if self._how in LINK_STATES:
            self._scene.links.set_link(self._number, "up")
        elif self._how == cells.SLOW:
            self._scene.links.set_rate(self._number, 0)
        elif self._how == cells.STOPPED:
            self._process.send_signal(signal.SIGCONT)
        elif self._how == cells.CRASHED:
            self._sub_host.memserver.start()
        elif self._how == cells.FULL:
            self._filler.communicate()
            assert self._filler.returncode == 0
        elif self._how == cells.EXPIRED:
            self._scene.certificates.renew()
            if self._sub_host:
                self._process.send_signal(signal.SIGHUP)

    def _fill(self) -> None:
        """Have another VM reserve all that the memserver has left."""
        host = self._scene.links.hosts[self._number]
        command = [*host.prefix, sys.executable, "-m", "tests.qemu.fault_matrix.filler", host.address, str(PORT)]
        self._filler = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._filler.stdout.readline() == "full\n"

    @property
    def _sub_host(self) -> SubHost | None:
        return self._scene.sub_hosts.get(self._number)

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        if self._sub_host:
            return self._sub_host.memserver.process
        vm = self._scene.source if self._number == SOURCE else self._scene.destination
        return vm.process


def _only(numbers: set[int]) -> int:
    (number,) = numbers
    return number


# The host of each party, by the sub-hosts before and after. Where several are the same to the operation it is the
# first: that one decides who runs the VM.
_NUMBERS: dict[str, Callable[[set[int], set[int]], int]] = {
    cells.SOURCE: lambda before, after: SOURCE,
    cells.DESTINATION: lambda before, after: DESTINATION,
    cells.NEW: lambda before, after: min(after - before),
    cells.LEFT: lambda before, after: min(before - after),
    cells.KEPT: lambda before, after: _only(before & after),
}


def number_of(who: str, operation: str) -> int:
    """The number of the host that is this party of the operation."""
    return _NUMBERS[who](*map(set, LAYOUTS[operation]))


def play(scene: Scene, when: str, fault: Fault) -> str:
    """Play the operation, with the fault where it belongs; what came of it."""
    scene.prepare()
    if when == cells.BEFORE:
        fault.begin()
        scene.begin(when)
        fault.last()
    else:
        scene.begin(when)
        scene.reach(when)
        fault.begin()
        # The switch-over goes on amid the fault, and QEMU answers nothing meanwhile; pages are slow until its end.
        ending = threading.Thread(target=fault.last)
        ending.start()
        if when == cells.SWITCH_OVER and not fault.stops_source:
            scene.release(when)
            ending.join()
        else:
            ending.join()
            scene.release(when)
    scene.wait()
    return scene.outcome()
