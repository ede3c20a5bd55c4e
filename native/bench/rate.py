# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest gets done, and that it is right."""

from __future__ import annotations

from tests.qemu.vm import Vm


def rate(vm: Vm, seconds: float) -> float:
    """The guest's accesses a second, for so many seconds. Raises RuntimeError if it has ever seen a wrong page."""
    first = vm.run_guest(0)
    last = vm.run_guest(seconds)
    if last["wrong"]:
        raise RuntimeError(f"the guest found wrong pages: {vm.wrong_lines()[:3]}")
    return (last["accesses"] - first["accesses"]) / (last["t"] - first["t"])
