# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests see a page that is wrong: without this, a count of 0 wrong pages would say nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.qemu import guests
from tests.qemu.vm import Vm

pytestmark = pytest.mark.qemu

PAGE = 4096
# Behind the firmware and the kernel's image.
SEARCH_FROM = 16 << 20
MEMORY = 192 << 20
PARAMETERS = "smemv.fill=64M smemv.writes=0"


@dataclass(frozen=True)
class Kind:
    """A guest, and the words that its pages are made of (struct's letter)."""

    make: Callable[[str], guests.Guest]
    word: str

    @property
    def size(self) -> int:
        return struct.calcsize(self.word)

    def words(self, data: bytes) -> tuple[int, ...]:
        return struct.unpack(f"<{len(data) // self.size}{self.word}", data)


KINDS = {"linux": Kind(guests.linux, "Q"), "bare": Kind(guests.bare, "I")}


def memory(vm: Vm, physical: int, size: int = PAGE) -> bytes:
    """The guest's memory, read behind its back."""
    with open(f"/proc/{vm.process.pid}/mem", "rb", buffering=0) as file:
        file.seek(vm.ram_addresses().start + physical)
        return file.read(size)


def overwrite(vm: Vm, physical: int, data: bytes) -> None:
    with open(f"/proc/{vm.process.pid}/mem", "r+b", buffering=0) as file:
        file.seek(vm.ram_addresses().start + physical)
        file.write(data)


def find_page(vm: Vm, kind: Kind, pages: int) -> tuple[int, int]:
    """A page that the guest checks: its guest-physical address and its number."""
    for physical in range(SEARCH_FROM, MEMORY, PAGE):
        number, version, *rest = kind.words(memory(vm, physical, 6 * kind.size))
        if 0 < number < pages and version == 1 and rest[0] and rest[1] - rest[0] == rest[2] - rest[1]:
            return physical, number
    raise AssertionError("no page that the guest checks")


def wait_for_wrong(vm: Vm, count: int) -> dict[str, str]:
    """The fields of the line about the last of that many wrong pages."""
    vm.wait_for_guest(lambda status: status["wrong"] == count, timeout=120)
    lines = vm.wrong_lines()
    assert len(lines) == count
    return dict(word.split("=") for word in lines[-1].split() if "=" in word)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_wrong_memory_is_seen(kind: Kind, stock: Path, start_vm: Callable[..., Vm]) -> None:
    vm = start_vm(stock, kind.make(PARAMETERS), memory=f"{MEMORY >> 20}M")
    status = vm.wait_for_guest(lambda status: status["phase"] == "run" and status["accesses"] > 0, timeout=120)
    assert vm.run_guest(3)["wrong"] == 0

    physical, number = find_page(vm, kind, status["pages"])
    last = memory(vm, physical)[-1]
    overwrite(vm, physical + PAGE - 1, bytes([last ^ 0x10]))
    fields = wait_for_wrong(vm, 1)
    assert (int(fields["page"]), int(fields["physical"], 16)) == (number, physical)
    assert int(fields["word"]) == PAGE // kind.size - 1

    overwrite(vm, physical, struct.pack(f"<{kind.word}", number - 1))
    fields = wait_for_wrong(vm, 2)
    assert (int(fields["page"]), int(fields["page_found"])) == (number, number - 1)
