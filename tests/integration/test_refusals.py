# SPDX-License-Identifier: GPL-3.0-or-later
"""What migrate_large_vm.yml refuses before anything is touched: one sentence names the host and what is missing."""

from __future__ import annotations

import pytest

from tests.integration.conftest import REQUEST, clear

REFUSALS = [
    ({"vm": "small"}, "no host has a VM small (asked: host-1, host-2, host-3, host-4, host-5, host-6)"),
    ({"destination_host": "host-9"}, "host-9: no host of that name is in the inventory's group kvm_hosts"),
    ({"sub_hosts": ["host-3", "host-9"]}, "host-9: no host of that name is in the inventory's group memservers"),
    ({"sub_hosts": []}, "sub_hosts names no host"),
    ({"sub_hosts": ["host-3", "host-2"]}, "host-2: is the destination and cannot be a sub-host too"),
    ({"sub_hosts": ["host-3", "host-3"]}, "host-3: is listed twice in sub_hosts"),
    ({"destination_host": "host-1"}, "host-1: VM big runs here already: the destination is the source"),
    ({"main_memory": "256M"}, "main_memory '256M' is not a size"),
    ({"main_memory": "1000000B"}, "main_memory 1000000B is not a multiple of the page"),
    ({"main_memory": "32MiB"}, "host-2: main_memory 32MiB is less than the 64MiB that VM big can work with"),
    ({"main_memory": "512MiB"}, "host-2: main_memory 512MiB holds all of VM big (512MiB): there is nothing to split"),
    ({"main_memory": "100GiB"}, "host-2: has "),
]


def states(answers):
    return {host: [(entry["name"], entry.get("state")) for entry in entries] for host, entries in answers.items()}


@pytest.fixture(scope="module", autouse=True)
def running_vm(cluster, configuration):
    """The VM that all these tests refuse to move; after all of them every host is as it was before."""
    try:
        started = cluster.module("host-1", "vm", **configuration)["host-1"]
        assert started["changed"], started
        before = states(cluster.vms()), states(cluster.sessions())
        yield
        assert (states(cluster.vms()), states(cluster.sessions())) == before
    finally:
        clear(cluster)


@pytest.fixture
def refused(cluster):
    """Runs the playbook with a change to the request: its message, once it has refused and changed nothing."""

    def ask(**change):
        play = cluster.play("migrate_large_vm.yml", **{**REQUEST, **change})
        assert play.code != 0, play.output
        assert play.changed == 0, play.output
        return play.message

    return ask


@pytest.mark.parametrize(("change", "message"), REFUSALS)
def test_a_request_that_cannot_be(refused, change, message):
    assert message in refused(**change)


def test_a_vm_has_to_be_named(cluster):
    play = cluster.play("migrate_large_vm.yml", **{key: value for key, value in REQUEST.items() if key != "vm"})
    assert play.code != 0
    assert play.changed == 0
    assert "say which VM" in play.output


def test_a_memserver_that_is_not_running(cluster, refused):
    cluster.ssh("host-4", "systemctl stop smemv-memserver")
    try:
        assert "host-4: its memserver is not running" in refused()
    finally:
        cluster.ssh("host-4", "systemctl start smemv-memserver")


def test_memservers_with_too_little_room(cluster, configuration, refused):
    # Larger than its hosts together; the guest touches little of that.
    large = {**configuration, "name": "lone", "memory": "8GiB", "disks": []}
    started = cluster.module("host-1", "vm", **large)["host-1"]
    assert started["changed"], started
    try:
        message = refused(vm="lone")
        for host in REQUEST["sub_hosts"]:
            assert f"{host}: its memserver has room for 1536MiB, and 7952MiB are wanted of all sub-hosts" in message
    finally:
        cluster.module("host-1", "vm", name="lone", state="absent", shutdown_timeout=0)


@pytest.mark.parametrize("host", ["host-2", "host-3"])
def test_a_host_that_cannot_be_reached(cluster, refused, host):
    cluster.run("link", host, "down")
    try:
        assert f"{host}: cannot be reached" in refused()
    finally:
        cluster.run("link", host, "up")


def test_a_host_that_cannot_answer(cluster, refused):
    cluster.ssh("host-3", "chmod -x /usr/bin/python3.13")
    try:
        message = refused()
        assert "host-3: cannot be reached" in message
        assert "/usr/bin/python3" in message
    finally:
        cluster.ssh("host-3", "chmod +x /usr/bin/python3.13")


def test_a_host_that_takes_no_part_may_be_away(cluster):
    cluster.run("link", "host-4", "down")
    try:
        play = cluster.play("migrate_large_vm.yml", "--check", **{**REQUEST, "sub_hosts": ["host-3"]})
        assert play.code == 0, play.output
    finally:
        cluster.run("link", "host-4", "up")


def test_a_destination_without_the_vms_disk(cluster, configuration, refused):
    # Not on the storage that the hosts share.
    cluster.ssh("host-1", "truncate --size 1M /var/lib/own.img")
    lone = {**configuration, "name": "lone", "disks": [{"path": "/var/lib/own.img"}]}
    started = cluster.module("host-1", "vm", **lone)
    assert started["host-1"]["changed"], started
    try:
        message = refused(vm="lone")
        assert "VM lone is not touched: host-2: there is no /var/lib/own.img, which VM lone uses" in message
    finally:
        cluster.module("host-1", "vm", name="lone", state="absent", shutdown_timeout=0)


def test_a_vm_whose_memory_is_shared(cluster, configuration, refused):
    shared = ["-object", "memory-backend-memfd,id=ram,size=512M,share=on", "-machine", "memory-backend=ram"]
    started = cluster.module("host-1", "vm", **{**configuration, "name": "lone", "disks": [], "extra_args": shared})
    assert started["host-1"]["changed"], started
    try:
        assert "host-1: VM lone cannot be split: " in refused(vm="lone")
    finally:
        cluster.module("host-1", "vm", name="lone", state="absent", shutdown_timeout=0)


def test_a_vm_that_a_stock_qemu_started(cluster, configuration, refused):
    cluster.ssh("host-1", "apt-get install --quiet=2 --yes --no-install-recommends qemu-system-x86 >/dev/null 2>&1")
    stock = {**configuration, "name": "lone", "disks": [], "qemu": "/usr/bin/qemu-system-x86_64"}
    started = cluster.module("host-1", "vm", **stock)
    assert started["host-1"]["changed"], started
    try:
        assert "host-1: VM lone was started by a QEMU without split migration" in refused(vm="lone")
    finally:
        cluster.module("host-1", "vm", name="lone", state="absent", shutdown_timeout=0)
