# SPDX-License-Identifier: GPL-3.0-or-later
"""A split migration on loopback, for tests: one step each, and what must hold afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.qemu.memserver import Memserver
from tests.qemu.vm import Vm

MIB = 1 << 20
PAGE = 4096
# What the memory limit may be exceeded by, at any moment.
TOLERANCE = 1.02


def shares(memory: int, limit: int, count: int) -> list[int]:
    """Shares of that many sub-hosts, in bytes: together what the pager wants, and a page more at the most each."""
    pages = -(-(memory - limit + limit // 16) // PAGE)
    return [(pages // count + (number < pages % count)) * PAGE for number in range(count)]


def set_target(
    source: Vm, name: str, memory: int, limit: int, memservers: Sequence[Memserver], **options: object
) -> None:
    """Make the next migration a split one; options are further ones of smemv-set-target.

    Pages are sampled for half a second if no other time is given.
    """
    replicas = options.get("replicas", 1)
    each = shares(memory, limit, len(memservers))
    sub_hosts = [memserver.sub_host(share * replicas) for memserver, share in zip(memservers, each)]
    source.qmp("smemv-set-target", name=name, main_limit=limit, sub_hosts=sub_hosts, **{"sample_time": 500, **options})
    source.set_capabilities("return-path")


def where(vm: Vm) -> dict[str, Any]:
    """query-smemv."""
    return vm.qmp("query-smemv")


def check_sum(vm: Vm, memservers: Sequence[Memserver]) -> None:
    """Every page is in one place, or has both its copies, and the memservers say the same. The VM must be paused."""
    before = None
    # Until the last pages that were on their way out have arrived.
    while (info := where(vm)) != before:
        before = info
        time.sleep(0.3)
    assert info["state"] == "split"
    alive = [sub_host for sub_host in info["sub-hosts"] if not sub_host["failed"]]
    held = {sub_host["name"]: sub_host["remote"] + sub_host["second-copies"] for sub_host in alive}
    assert info["resident"] + info["zero"] + sum(held.values()) / info["replicas"] == info["total"]
    assert set(held) == {memserver.name for memserver in memservers}
    stored = {sub_host["name"]: sub_host["stored"] for sub_host in alive}
    for memserver in memservers:
        there = stored[memserver.name]
        (session,) = memserver.stat()["sessions"]
        # Copies of pages that have come back are kept there, or about to be dropped.
        assert held[memserver.name] <= there == session["used"] <= session["reserved"], f"{info}, {session}"


def run_within(vm: Vm, limit: int, seconds: float) -> dict[str, Any]:
    """Let the guest run; its resident memory must stay within the limit all the time. Returns its last status."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        vm.check_alive()
        resident = vm.resident()
        assert resident <= limit * TOLERANCE, f"{resident / MIB:.1f} MiB resident, limit {limit / MIB:.1f}"
        time.sleep(0.25)
    # On a busy machine the guest may not have come to say anything in that time.
    vm.wait_for_guest(lambda status: True, timeout=60)
    return vm.guest_status()


def wait_until(condition: Callable[[], bool], timeout: float = 30) -> None:
    """Wait until the condition holds; fails after timeout seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.1)
