# SPDX-License-Identifier: GPL-3.0-or-later
"""A split VM for a while, by TLS: its limit goes up and down, memservers restart, and the guest gives memory back.

A minute, and nightly ten, or SMEMV_ENDURANCE_SECONDS.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from tests.qemu.hosts import CREDENTIALS, REPORTING, Hosts, churning, encrypt
from tests.qemu.memserver import Memserver
from tests.qemu.split import MIB, check_sum, run_within, set_target, wait_until

pytestmark = pytest.mark.qemu

LIMITS = range(64 * MIB, 129 * MIB, 16 * MIB)
LONG = int(os.environ.get("SMEMV_ENDURANCE_SECONDS", "600"))


@pytest.mark.parametrize(
    "seconds",
    [60, pytest.param(LONG, marks=[pytest.mark.nightly, pytest.mark.timeout(2 * LONG, func_only=True)])],
)
def test_limit_goes_up_and_down_and_memservers_restart(
    hosts: Hosts, main_host: list[str], start_kept_with_tls: Callable[[], Memserver], seconds: int
) -> None:
    place, devices = churning(2), [*main_host, *REPORTING]
    source, vm = hosts.running_vm(place, devices), hosts.vm(place, incoming=True, devices=devices)
    memservers = [start_kept_with_tls() for _ in range(2)]
    set_target(source, "test", place.memory, LIMITS.start, memservers, tls_creds=CREDENTIALS)
    encrypt(source, vm)
    source.migrate_to(vm)
    source.stop()
    chance = random.Random(1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        limit = chance.choice(LIMITS)
        vm.qmp("smemv-set-limit", limit=limit)
        memserver = chance.choice(memservers)
        memserver.stop()
        time.sleep(chance.uniform(0, 1))
        memserver.start()
        wait_until(lambda limit=limit: vm.resident() <= limit)
        assert run_within(vm, limit, seconds=3)["wrong"] == 0
    assert vm.guest_status()["rounds"] > 1
    vm.qmp("stop")
    check_sum(vm, memservers)
