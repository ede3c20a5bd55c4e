# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests see a page that is wrong: without this, a count of 0 wrong pages would say nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.qemu import guests
from tests.qemu.vm import Vm

pytestmark = pytest.mark.qemu

PAGE = 4096
# Where neither guest keeps anything but pages that it checks.
SOMEWHERE = 100 << 20
PARAMETERS = "smemv.fill=160M smemv.writes=0"
# The guests, and how a page of each begins: number, version.
KINDS = {"linux": (guests.linux, "<QQ"), "bare": (guests.bare, "<II")}


def memory(vm: Vm, physical: int, data: bytes | None = None) -> bytes:
    """Read a page of the guest's memory behind its back, or write data there."""
    with open(f"/proc/{vm.process.pid}/mem", "r+b", buffering=0) as file:
        file.seek(vm.ram_addresses().start + physical)
        if data is not None:
            file.write(data)
            file.seek(vm.ram_addresses().start + physical)
        return file.read(PAGE)


def find_page(vm: Vm, head: str, pages: int) -> tuple[int, int]:
    """A page that the guest checks: its guest-physical address and its number."""
    for physical in range(SOMEWHERE, SOMEWHERE + (32 << 20), PAGE):
        number, version = struct.unpack_from(head, memory(vm, physical))
        if 0 < number < pages and version == 1:
            return physical, number
    raise AssertionError("no checked page where one should be")


@pytest.fixture(params=KINDS)
def guest(request: pytest.FixtureRequest, stock: Path, start_vm: Callable[..., Vm]) -> tuple[Vm, str]:
    make, head = KINDS[request.param]
    return start_vm(stock, make(PARAMETERS), memory="256M"), head


def test_right_memory_is_not_wrong(guest: tuple[Vm, str]) -> None:
    vm, _ = guest
    vm.wait_for_guest(lambda status: status["phase"] == "run" and status["accesses"] > 0, timeout=60)
    assert vm.run_guest(3)["wrong"] == 0


def test_one_wrong_bit_is_seen(guest: tuple[Vm, str]) -> None:
    vm, head = guest
    status = vm.wait_for_guest(lambda status: status["phase"] == "run", timeout=60)
    physical, number = find_page(vm, head, status["pages"])
    page = bytearray(memory(vm, physical))
    page[PAGE - 1] ^= 0x10
    memory(vm, physical, bytes(page))
    vm.wait_for_guest(lambda status: status["wrong"] == 1, timeout=60)
    (line,) = vm.wrong_lines()
    fields = dict(word.split("=") for word in line.split() if "=" in word)
    assert (int(fields["page"]), int(fields["physical"], 16)) == (number, physical)
    assert int(fields["word"]) == PAGE // (struct.calcsize(head) // 2) - 1


def test_another_pages_content_is_seen(guest: tuple[Vm, str]) -> None:
    vm, head = guest
    status = vm.wait_for_guest(lambda status: status["phase"] == "run", timeout=60)
    physical, number = find_page(vm, head, status["pages"])
    memory(vm, physical, struct.pack(head, number - 1, 1) + memory(vm, physical)[struct.calcsize(head) :])
    vm.wait_for_guest(lambda status: status["wrong"] == 1, timeout=60)
    (line,) = vm.wrong_lines()
    assert f"page={number} " in line
    assert f"page_found={number - 1} " in line
