# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests that check their memory (tests/guest), as QEMU wants to be told of them."""

from __future__ import annotations

import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

BUILD = Path(__file__).resolve().parents[1] / "guest" / "build"

# On a busy machine the timer's interrupts come late, and the kernel would panic at its test of them: a guest that
# panics ends its VM, and no test waits for it. Tests of ciphers take an emulated processor half a second.
SOON_UP = "no_timer_check cryptomgr.notests"

# An NMI makes the kernel panic, and say by that what each task (1) waits for; see standstill.py.
TELLS_BY_NMI = "unknown_nmi_panic panic_print=1"


@dataclass(frozen=True)
class Guest:
    """What QEMU boots: the options -kernel, -initrd and -append."""

    kernel: Path
    initrd: Path | None
    append: str

    @property
    def options(self) -> list[str]:
        initrd = ["-initrd", str(self.initrd)] if self.initrd else []
        return ["-kernel", str(self.kernel), *initrd, "-append", self.append]


@functools.cache
def folder() -> Path:
    """Where the guests are; they are built first if need be."""
    done = subprocess.run([BUILD], check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


def linux(parameters: str) -> Guest:
    """A Linux guest, for TCG; parameters as in tests/guest/linux/parameters.h."""
    kernel, initrd = folder() / "vmlinux", folder() / "initrd"
    return Guest(kernel, initrd, f"console=ttyS0 quiet panic=-1 {SOON_UP} {TELLS_BY_NMI} {parameters}")


def bare(parameters: str) -> Guest:
    """A guest without an operating system, for TCG and KVM; parameters as in tests/guest/bare/bare.c."""
    return Guest(folder() / "bare.elf", None, parameters)


def remap() -> Guest:
    """A guest that takes a virtio device's registers away and puts them back while its second processor reads its own;
    see tests/guest/remap/remap.c."""
    return Guest(folder() / "remap.elf", None, "")
