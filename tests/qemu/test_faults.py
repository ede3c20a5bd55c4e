# SPDX-License-Identifier: GPL-3.0-or-later
"""Page faults that come together: all are served, whatever becomes of one of them."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.qemu.hosts import Hosts, small
from tests.qemu.memserver import Memserver
from tests.qemu.split import check_sum, run_within, set_target, shares, wait_until, where
from tests.qemu.touch import missing, touch

pytestmark = pytest.mark.qemu


def test_faults_of_many_threads_are_served(hosts: Hosts) -> None:
    place = small()
    _, vm, memservers = hosts.split(place)
    vm.qmp("stop")
    before = where(vm)
    # In no order, or they would be read ahead.
    addresses = missing(vm)[::3]
    random.Random(1).shuffle(addresses)
    with ThreadPoolExecutor(32) as touchers:
        list(touchers.map(lambda address: touch(vm, address), addresses, timeout=60))
    info = where(vm)
    fetched = info["pages-in"] - before["pages-in"] - (info["read-ahead"] - before["read-ahead"])
    assert fetched > 1000
    assert fetched <= sum(bucket["faults"] for bucket in info["fault-latency"]) <= info["pages-in"]
    assert all(bucket.get("below", 1 << 30) >= 16 for bucket in info["fault-latency"])
    check_sum(vm, memservers)
    vm.qmp("cont")
    assert run_within(vm, place.limit, seconds=3)["wrong"] == 0


@pytest.mark.parametrize("silence", ["gone", pytest.param("stopped", marks=pytest.mark.nightly)])
def test_faults_on_a_lost_sub_host_wait_and_others_do_not(
    hosts: Hosts, start_kept_memserver: Callable[..., Memserver], silence: str
) -> None:
    place = small()
    source, vm = hosts.running_vm(place), hosts.vm(place, incoming=True)
    lost, other = (start_kept_memserver(share) for share in shares(place.memory, place.limit, 2))
    set_target(source, "test", place.memory, place.limit, [lost, other])
    source.migrate_to(vm)
    vm.qmp("stop")
    addresses = random.Random(1).sample(missing(vm), 300)
    if silence == "gone":
        lost.stop()
    else:
        lost.process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(len(addresses)) as touchers:
        touches = [touchers.submit(touch, vm, address) for address in addresses]
        event = vm.wait_for_event("SMEMV_SUB_HOST_UNREACHABLE", timeout=60)
        assert event == {"name": lost.name, "host": "127.0.0.1", "port": lost.port}
        # All that are left wait for the one sub-host: those of the other are served meanwhile.
        wait_until(lambda: sum(not each.done() for each in touches) == where(vm)["waiting"], timeout=60)
        assert 0 < where(vm)["waiting"] < len(addresses)
        assert [host["connected"] for host in where(vm)["sub-hosts"]] == [False, True]
        if silence == "gone":
            lost.start()
        else:
            lost.process.send_signal(signal.SIGCONT)
        assert vm.wait_for_event("SMEMV_SUB_HOST_REACHABLE", timeout=60)["name"] == lost.name
        for each in touches:
            each.result(timeout=60)
    assert where(vm)["waiting"] == 0
    vm.qmp("cont")
    assert run_within(vm, place.limit, seconds=3)["wrong"] == 0


def test_a_thread_that_cannot_go_on_ends_the_vm_and_says_why(hosts: Hosts) -> None:
    _, vm, (lost, _) = hosts.split(small())
    # It comes back without what it held: nobody can serve the faults on those pages.
    lost.stop()
    lost.start()
    assert vm.process.wait(timeout=60) == 1
    said = rf"smemv: page 0x[0-9a-f]+ cannot be had, the VM ends: .*\b{lost.name}\b"
    assert re.search(said, vm.log()), vm.log()
