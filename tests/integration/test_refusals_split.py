# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused of a VM that is split, before anything is touched."""

from __future__ import annotations

import pytest

from tests.integration.cluster import wait_for
from tests.integration.conftest import clear
from tests.integration.operations import MIB, consolidate, remigrate, split

SPLIT = split("host-2", "host-3", "host-4")
ON = remigrate("host-5", "host-4", "host-6")


@pytest.fixture(scope="module", autouse=True)
def split_vm(cluster, configuration):
    """The VM that all these tests refuse to move; after all of them it is as it was before."""
    try:
        started = cluster.module("host-1", "vm", **configuration)["host-1"]
        assert started["changed"], started
        cluster.wait_for_guest("host-1", "big")
        SPLIT.done(cluster)
        yield
        SPLIT.check(cluster)
    finally:
        clear(cluster)


def refused(cluster, operation):
    play = operation.play(cluster)
    assert play.code != 0, play.output
    assert play.changed == 0, play.output
    return play.message


@pytest.fixture
def room(cluster):
    """Gives hosts this much free memory, until the test is over."""
    changed = []

    def give(host, size):
        info = cluster.module(host, "host_info")[host]["memory"]
        cluster.run("memory", host, str(info["total"] - info["available"] + size))
        changed.append(host)

    yield give
    for host in changed:
        cluster.run("memory", host, "3G")


@pytest.mark.parametrize("operation", [consolidate("host-1"), consolidate("host-2")])
def test_a_host_without_room_for_all_of_it(cluster, room, operation):
    room(operation.main, 200 * MIB)
    message = refused(cluster, operation)
    assert f"{operation.main}: has " in message
    assert "VM big" in message


def test_memservers_without_room_while_it_moves(cluster, room):
    for host in ("host-3", "host-4"):
        room(host, 80 * MIB)
    message = refused(cluster, remigrate("host-5", "host-3", "host-4"))
    for host in ("host-3", "host-4"):
        assert f"{host}: its memserver has room for " in message
    assert "while VM big moves 240MiB more are wanted of its present sub-hosts together" in message


@pytest.mark.parametrize("operation", [ON, consolidate("host-1"), consolidate("host-2")])
def test_a_sub_host_that_is_left_and_cannot_be_reached(cluster, operation):
    cluster.run("link", "host-3", "down")
    try:
        assert "host-3: cannot be reached" in refused(cluster, operation)
    finally:
        cluster.run("link", "host-3", "up")


def test_a_destination_in_maintenance(cluster):
    cluster.ssh("host-5", "mkdir --parents /etc/smemv && echo 'new disks' >/etc/smemv/maintenance")
    try:
        assert "host-5: is in maintenance: new disks" in refused(cluster, ON)
    finally:
        cluster.ssh("host-5", "rm /etc/smemv/maintenance")


def test_two_relocations_at_once(cluster):
    # So slow that it is not done before the others are refused, however busy this machine is.
    first = cluster.begin(ON.playbook, relocate_bandwidth="512KiB", **ON.request)
    moving = "ss --tcp --numeric --no-header state established dport = :4780"
    wait_for(lambda: cluster.ssh("host-2", moving), 120, "the first")
    for other in (remigrate("host-6", "host-4", "host-5"), consolidate("host-2")):
        message = refused(cluster, other)
        assert "host-2: VM big is on its way to host-5 already, with 256MiB there and the rest on" in message
    cancelled = cluster.module("host-2", "relocation_cancel", name="big")["host-2"]
    assert (cancelled["changed"], cancelled["progress"]) == (True, "cancelled")
    # Nothing of it is left.
    output, _none = first.communicate(timeout=240)
    assert "the migration of VM big was cancelled" in output
    assert "It runs on host-2, as before." in output
    SPLIT.check(cluster)
