# SPDX-License-Identifier: GPL-3.0-or-later
"""What can befall a host, a program or a link in a scene: each has a beginning, and most an end."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable

from tests.qemu.fault_matrix import cells
from tests.qemu.fault_matrix.scene import DESTINATION, SOURCE, Scene, SubHost

SLOW = 2  # Mbit/s
SHORT = 5  # seconds
# Longer than it takes until a host that is silent counts as lost.
LONG = 15
LINK_STATES = {cells.CUT: "down", cells.CUT_LONG: "down", cells.MUTE: "mute", cells.DEAF: "deaf"}


class Fault:
    """How something befalls a party of the scene."""

    def __init__(self, scene: Scene, who: str, how: str) -> None:
        self._scene = scene
        self._how = how
        self._number = NUMBERS[who](scene)

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


# The host of each party. Where several are the same to the operation it is the first: that one decides who runs the VM.
NUMBERS: dict[str, Callable[[Scene], int]] = {
    cells.SOURCE: lambda scene: SOURCE,
    cells.DESTINATION: lambda scene: DESTINATION,
    cells.NEW: lambda scene: min(set(scene.after) - set(scene.before)),
    cells.LEFT: lambda scene: min(set(scene.before) - set(scene.after)),
    cells.KEPT: lambda scene: _only(set(scene.before) & set(scene.after)),
}


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
