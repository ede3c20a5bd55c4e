# SPDX-License-Identifier: GPL-3.0-or-later
"""What dies at the switch-over: the VM runs on one of the two sides all the same, and never on both."""

from __future__ import annotations

import contextlib
import copy
import signal
import time
from collections.abc import Callable, Sequence

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpCommandError

from tests.qemu.hosts import Hosts, small
from tests.qemu.lossy_link import LossyLink
from tests.qemu.memserver import HOST, Memserver
from tests.qemu.split import MIB, run_within, set_target, shares, wait_until, where
from tests.qemu.tap import Tap
from tests.qemu.vm import Vm

pytestmark = pytest.mark.qemu

NIGHTLY = pytest.mark.nightly
LONGER_THAN_FOR_AN_ANSWER = 12  # seconds

# The interrupt controller's device reads a page of the guest's memory as it is loaded.
READ_NO_MEMORY = ["-global", "apic-common.vapic=off"]

StartMemserver = Callable[[int], Memserver]


class LossyLinks(contextlib.ExitStack):
    """A lossy link to each memserver; a context manager."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: dict[str, LossyLink] = {}

    def link(self, memserver: Memserver) -> Memserver:
        """That memserver behind its link."""
        if memserver.name not in self.by_name:
            self.by_name[memserver.name] = self.enter_context(LossyLink(HOST, memserver.port))
        behind = copy.copy(memserver)
        behind.port = self.by_name[memserver.name].port
        return behind


class SwitchOver:
    """A migration to a main host and two sub-hosts that is held right before its switch-over.

    The VM is paused and all of it is sent, so nobody uses a connection to a memserver before the destination claims
    the VM; but for what other devices may want.
    """

    def __init__(
        self,
        hosts: Hosts,
        start: StartMemserver,
        before: str,
        link: Callable[[Memserver], Memserver] = lambda memserver: memserver,
        devices: Sequence[str] = READ_NO_MEMORY,
        seconds: float = 0,
    ) -> None:
        """link gives what the VM is to take for a memserver; split before, it runs for so many seconds first."""
        self.before = before
        self.link = link
        self.place = small()
        self.memservers = [start(512 * MIB) for _ in range(2)]
        self.source = hosts.running_vm(self.place, devices)
        if before == "split":
            whole, self.source = self.source, hosts.vm(self.place, incoming=True, devices=devices)
            self.set_target(whole)
            whole.migrate_to(self.source)
            whole.stop()
            self.source.run_guest(seconds)
        self.destination = hosts.vm(self.place, incoming=True, devices=devices)
        self.set_target(self.source)
        self.source.qmp("stop")
        self.source.set_capabilities("pause-before-switchover")
        self.source.qmp("migrate-set-parameters", downtime_limit=0)
        self.source.qmp("migrate", uri=self.destination.listen())
        wait_until(lambda: self.source.qmp("query-migrate")["status"] == "pre-switchover")

    def set_target(self, vm: Vm) -> None:
        each = [self.link(memserver) for memserver in self.memservers]
        set_target(vm, "test", self.place.memory, self.place.limit, each)

    @property
    def arbiter(self) -> Memserver:
        return self.memservers[0]

    def go_on(self) -> str:
        """Let it switch over; how the migration ended."""
        self.source.qmp("migrate-continue", state="pre-switchover")
        return self.source.wait_for_migration(timeout=60)["status"]

    def check_on_source(self) -> None:
        assert where(self.source)["state"] == self.before
        self.source.qmp("cont")
        assert self.source.run_guest(2)["wrong"] == 0


def ended(vm: Vm) -> bool:
    return vm.process.wait(timeout=30) != 0


@pytest.mark.parametrize("before", [pytest.param("whole", marks=NIGHTLY), "split"])
def test_memserver_that_crashed_and_is_back(hosts: Hosts, start_kept_memserver: StartMemserver, before: str) -> None:
    switch_over = SwitchOver(hosts, start_kept_memserver, before)
    switch_over.arbiter.stop()
    switch_over.arbiter.start()
    assert switch_over.go_on() == "completed"
    assert switch_over.source.run_state() == "postmigrate"
    switch_over.destination.qmp("cont")
    assert run_within(switch_over.destination, switch_over.place.limit, seconds=3)["wrong"] == 0


@pytest.mark.parametrize("before", ["whole", pytest.param("split", marks=NIGHTLY)])
def test_arbiter_that_is_away(hosts: Hosts, start_kept_memserver: StartMemserver, before: str) -> None:
    switch_over = SwitchOver(hosts, start_kept_memserver, before)
    switch_over.arbiter.stop()
    assert switch_over.go_on() == "failed"
    assert ended(switch_over.destination)
    # A split VM needs what is stored there; a whole one does not, and gives back what it had reserved.
    if before == "whole":
        switch_over.check_on_source()
    switch_over.arbiter.start()
    if before == "whole":
        wait_until(lambda: not any(memserver.stat()["sessions"] for memserver in switch_over.memservers))
    else:
        switch_over.check_on_source()


def lose_both(switch_over: SwitchOver) -> None:
    """Have the source wait to learn who runs the VM: the destination and the arbiter say nothing."""
    source, destination = switch_over.source, switch_over.destination
    switch_over.arbiter.stop()
    destination.process.send_signal(signal.SIGSTOP)
    source.qmp("migrate-continue", state="pre-switchover")
    # It answers again once all is sent.
    wait_until(lambda: source.qmp("query-migrate")["status"] == "device")
    destination.process.kill()
    wait_until(lambda: "paused until it is known whether the destination runs it" in source.log(), 30)


@pytest.mark.parametrize("before", [pytest.param("whole", marks=NIGHTLY), "split"])
def test_arbiter_that_is_away_and_a_destination_that_says_nothing(
    hosts: Hosts, start_kept_memserver: StartMemserver, before: str
) -> None:
    """The source waits, for longer than for an answer, and runs the VM once it is known that it may."""
    switch_over = SwitchOver(hosts, start_kept_memserver, before)
    source = switch_over.source
    lose_both(switch_over)
    time.sleep(LONGER_THAN_FOR_AN_ANSWER)
    assert not source.migration_has_ended()
    with pytest.raises(QmpCommandError, match="migration process in progress"):
        source.qmp("migrate", uri="tcp:127.0.0.1:1")
    with pytest.raises(QmpCommandError, match="not finalized"):
        source.qmp("cont")
    switch_over.arbiter.start()
    assert source.wait_for_migration(timeout=60)["status"] == "failed"
    switch_over.check_on_source()


@NIGHTLY
def test_source_that_ends_while_it_waits(hosts: Hosts, start_kept_memserver: StartMemserver) -> None:
    """It closes no session: the VM may run at the destination."""
    switch_over = SwitchOver(hosts, start_kept_memserver, "split")
    lose_both(switch_over)
    switch_over.source.qmp("quit")
    switch_over.source.process.wait(timeout=30)
    switch_over.arbiter.start()
    for memserver in switch_over.memservers:
        assert len(memserver.stat()["sessions"]) == 1


def test_arbiter_that_forgot_the_session(hosts: Hosts, start_memserver: StartMemserver) -> None:
    switch_over = SwitchOver(hosts, start_memserver, "whole")
    switch_over.arbiter.stop()
    switch_over.arbiter.start()
    assert switch_over.go_on() == "failed"
    assert ended(switch_over.destination)
    switch_over.check_on_source()


@pytest.mark.parametrize("before", [pytest.param("whole", marks=NIGHTLY), "split"])
def test_claim_that_is_heard_and_not_answered(hosts: Hosts, start_memserver: StartMemserver, before: str) -> None:
    with LossyLinks() as links:
        switch_over = SwitchOver(hosts, start_memserver, before, links.link)
        (epoch,) = {session["epoch"] for session in switch_over.arbiter.stat()["sessions"]}
        to_arbiter = links.by_name[switch_over.arbiter.name]
        to_arbiter.cut()
        switch_over.source.qmp("migrate-continue", state="pre-switchover")
        assert ended(switch_over.destination)
        (session,) = switch_over.arbiter.stat()["sessions"]
        assert session["epoch"] == epoch + 1
        to_arbiter.mend()
        assert switch_over.source.wait_for_migration(timeout=60)["status"] == "failed"
        switch_over.check_on_source()
        for memserver in switch_over.memservers if before == "whole" else []:
            wait_until(lambda memserver=memserver: memserver.stat()["sessions"] == [])


def test_a_device_wants_a_page_that_cannot_be_had(hosts: Hosts, start_memserver: StartMemserver) -> None:
    """The destination does not wait for it for ever: it gives up, and the VM runs on where it was."""
    with LossyLinks() as links:
        # Meanwhile what the guest does not use goes to sub-hosts.
        switch_over = SwitchOver(hosts, start_memserver, "split", links.link, devices=(), seconds=8)
        for each in links.by_name.values():
            each.cut()
        assert switch_over.go_on() == "failed"
        assert ended(switch_over.destination)
        assert "which a device of the VM wants, cannot be had: memserver on" in switch_over.destination.log()
        assert "the destination gave up, so the VM runs on here" in switch_over.source.log()
        for each in links.by_name.values():
            each.mend()
        switch_over.check_on_source()


@pytest.mark.parametrize("before", [pytest.param("whole", marks=NIGHTLY), "split"])
def test_destination_that_dies(hosts: Hosts, start_kept_memserver: StartMemserver, before: str) -> None:
    switch_over = SwitchOver(hosts, start_kept_memserver, before)
    switch_over.destination.stop()
    assert switch_over.go_on() == "failed"
    switch_over.check_on_source()
    sessions = {"whole": 0, "split": 1}[before]
    for memserver in switch_over.memservers:
        wait_until(lambda memserver=memserver: len(memserver.stat()["sessions"]) == sessions)


def test_a_vm_that_was_claimed_elsewhere_ends(hosts: Hosts, start_memserver: StartMemserver) -> None:
    """Whose pages are refused, as another main host has claimed its session, does not run on."""
    place = small()
    memserver = start_memserver(512 * MIB)
    with Tap(HOST, memserver.port) as tap:
        source, vm = hosts.running_vm(place), hosts.vm(place, incoming=True)
        (share,) = shares(place.memory, place.limit, 1)
        sub_hosts = [dict(memserver.sub_host(share), port=tap.port)]
        source.qmp("smemv-set-target", name="test", main_limit=place.limit, sub_hosts=sub_hosts)
        source.set_capabilities("return-path")
        source.migrate_to(vm)
        source.stop()
        vm.run_guest(1)
        (session,) = memserver.stat()["sessions"]
        tap.claim_elsewhere(session["epoch"])
        vm.process.wait(timeout=30)
    assert "the VM ends: " in vm.log() and "STALE" in vm.log()
