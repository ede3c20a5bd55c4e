# SPDX-License-Identifier: GPL-3.0-or-later
"""Many VMs page from one memserver that is slow: each has its share of it, and slowness is not taken for a failure."""

from __future__ import annotations

import signal
import time

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpTimeout

from tests.qemu import guests
from tests.qemu.hosts import Hosts, Place
from tests.qemu.split import MIB, run_within, set_target, where

pytestmark = [pytest.mark.qemu, pytest.mark.nightly]

VMS = 4
PULSES = 20  # of a second; for half of each the memserver does nothing


def test_each_vm_has_its_share_of_a_slow_memserver(hosts: Hosts) -> None:
    # Nearly every access wants a page that is not there.
    place = Place(guests.linux("smemv.fill=160M"), 256 * MIB, 96 * MIB)
    memserver = hosts.start_memserver(VMS * place.memory)
    sources = [hosts.running_vm(place) for _ in range(VMS)]
    vms = []
    for number, source in enumerate(sources):
        vm = hosts.vm(place, incoming=True)
        set_target(source, f"vm-{number}", place.memory, place.limit, [memserver])
        source.migrate_to(vm)
        source.stop()
        vms.append(vm)
    before = [vm.run_guest(0)["accesses"] for vm in vms]
    for _ in range(PULSES):
        memserver.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        memserver.process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
    made = [vm.run_guest(0)["accesses"] - first for vm, first in zip(vms, before)]
    assert min(made) > 0.5 * sum(made) / VMS
    for vm in vms:
        assert run_within(vm, place.limit, seconds=1)["wrong"] == 0
        assert where(vm)["pages-in"] > 1000
        with pytest.raises(QmpTimeout):
            vm.wait_for_event("SMEMV_SUB_HOST_UNREACHABLE", timeout=0.1)
    assert {session["used"] > 0 for session in memserver.stat()["sessions"]} == {True}
    for vm in vms:
        vm.qmp("stop")
    assert len(memserver.stat()["sessions"]) == VMS
