# SPDX-License-Identifier: GPL-3.0-or-later
"""migrate_large_vm.yml: what it does, what it leaves, and that it does nothing twice."""

from __future__ import annotations

import re

import pytest

from tests.integration.cluster import assert_layout, assert_works_on, wait_for
from tests.integration.conftest import REQUEST, clear, kill
from tests.qemu.guests import SOON_UP

PLAYBOOK = "migrate_large_vm.yml"


def arrived(cluster):
    """The one VM there is, on host-2."""
    vms = cluster.vms()
    (there,) = vms.pop("host-2")
    assert not any(vms.values())
    return there


def test_four_ways(cluster, vm):
    guest = wait_for(lambda: cluster.guest_config("host-1", "big"))
    before = cluster.vms()["host-1"][0]["config"]

    foretold = cluster.play(PLAYBOOK, "--check", **REQUEST)
    assert (foretold.code, foretold.changed > 0) == (0, True), foretold.output
    assert [len(vms) for _host, vms in sorted(cluster.vms().items())] == [1, 0, 0, 0, 0, 0]
    assert not any(cluster.sessions().values())

    done = cluster.play(PLAYBOOK, **REQUEST)
    assert (done.code, done.changed > 0) == (0, True), done.output
    assert "VM big runs on host-2: " in done.output
    there = arrived(cluster)
    assert (there["state"], there["adopted"], there["config"]) == ("running", True, before)
    memory = there["memory"]
    assert (memory["state"], memory["limit"]) == ("split", 256 << 20)
    remote = sum(host["remote"] for host in memory["sub_hosts"])
    assert memory["resident"] + memory["zero"] + remote == memory["total"]
    shares = {host["name"]: host["share"] for host in memory["sub_hosts"]}
    assert sum(shares.values()) == (512 << 20) - (256 << 20) // 16 * 15
    for host, sessions in cluster.sessions().items():
        assert [session["reserved"] for session in sessions] == ([shares[host]] if host in shares else [])
    assert cluster.try_ssh("host-1", "systemctl cat smemv-vm-big").returncode != 0
    assert cluster.try_ssh("host-1", "pgrep --full qemu-system").returncode != 0
    assert_works_on(cluster, "host-2")
    assert wait_for(lambda: cluster.guest_config("host-2", "big")) == guest

    for mode in (["--check"], []):
        again = cluster.play(PLAYBOOK, *mode, **REQUEST)
        assert (again.code, again.changed) == (0, 0), again.output
    assert_works_on(cluster, "host-2")


def test_only_the_vm_is_named(cluster, vm):
    """Any of the hosts could take all of it, and it is split all the same; what was chosen is not chosen anew."""
    request = {"vm": "big", "relocate_policy": REQUEST["relocate_policy"]}
    foretold = cluster.play(PLAYBOOK, "--check", **request)
    assert (foretold.code, foretold.changed > 0) == (0, True), foretold.output
    assert [host for host, vms in cluster.vms().items() if vms] == ["host-1"]

    done = cluster.play(PLAYBOOK, **request)
    assert (done.code, done.changed > 0) == (0, True), done.output
    ((main, (machine,)),) = ((host, vms) for host, vms in cluster.vms().items() if vms)
    sub_hosts = [host["name"] for host in machine["memory"]["sub_hosts"]]
    assert len({"host-1", main, *sub_hosts}) == 3
    assert f"VM big is to be on {main}, with 480 MiB of its memory, 62 MiB on {sub_hosts[0]}" in done.output
    assert_layout(cluster, main, sub_hosts, 480 << 20)
    assert_works_on(cluster, main)

    for mode in (["--check"], []):
        again = cluster.play(PLAYBOOK, *mode, **request)
        assert (again.code, again.changed) == (0, 0), again.output
    assert cluster.play(PLAYBOOK, **request, destination_host=main).changed == 0


def under_way(cluster, bandwidth="8MiB", **variables):
    """A migration slow enough to be disturbed; returns once the source speaks to the memservers."""
    process = cluster.begin(PLAYBOOK, relocate_bandwidth=bandwidth, **REQUEST, **variables)
    connections = "ss --tcp --numeric --no-header state established dport = :4770"
    wait_for(lambda: cluster.ssh("host-1", connections), 180, "a connection to a memserver")
    return process


def test_cut_off_while_it_migrates(cluster, vm):
    kill(under_way(cluster))
    done = cluster.play(PLAYBOOK, **REQUEST)
    assert done.code == 0, done.output
    assert arrived(cluster)["adopted"]
    assert_works_on(cluster, "host-2")


@pytest.mark.nightly
def test_cut_off_before_the_units_are_switched_over(cluster, vm):
    kill(under_way(cluster))
    wait_for(lambda: [vms[0]["state"] for vms in cluster.vms().values() if vms] == ["moved", "running"], 300)
    assert not cluster.vms()["host-2"][0]["adopted"]
    done = cluster.play(PLAYBOOK, **REQUEST)
    assert (done.code, done.changed > 0) == (0, True), done.output
    assert arrived(cluster)["adopted"]
    assert cluster.play(PLAYBOOK, **REQUEST).changed == 0


def assert_never_left(cluster, process, *reasons):
    """The playbook failed, for these reasons; the VM runs on on host-1, and nothing is left elsewhere. Its output."""
    output, _none = process.communicate(timeout=240)
    assert process.returncode != 0, output
    said = [line for line in output.splitlines() if "VM big was not moved to host-2" in line][-1]
    for reason in (*reasons, "It runs on host-1, as before."):
        assert reason in said
    vms = cluster.vms()
    assert [machine["state"] for machine in vms.pop("host-1")] == ["running"]
    assert not any(vms.values())
    assert not any(cluster.sessions().values())
    assert_works_on(cluster, "host-1")
    return output


@pytest.mark.nightly
def test_a_memserver_that_dies(cluster, vm):
    # So slow that pages for it are still on their way, however busy this machine is.
    process = under_way(cluster, bandwidth="2MiB")
    cluster.ssh("host-3", "systemctl kill --signal KILL smemv-memserver")
    assert_never_left(cluster, process, "host-1: ", "host-3")


def test_a_destination_whose_qemu_dies(cluster, vm):
    process = under_way(cluster)
    cluster.ssh("host-2", "systemctl kill --signal KILL smemv-vm-big")
    assert_never_left(cluster, process, "host-1: ")
    # And once more, undisturbed.
    done = cluster.play(PLAYBOOK, **REQUEST)
    assert done.code == 0, done.output
    assert_works_on(cluster, "host-2")


@pytest.mark.nightly
def test_a_full_disk_at_the_destination(cluster, vm):
    folder = "/var/lib/smemv/vm"
    cluster.ssh("host-2", f"mkdir -p {folder} && mount -t tmpfs -o size=4k tmpfs {folder}")
    cluster.try_ssh("host-2", f"head -c 8k /dev/zero >{folder}/full")
    try:
        refused = cluster.play(PLAYBOOK, **REQUEST)
        assert refused.code != 0
        assert "No space left on device" in refused.message, refused.output
        assert [len(vms) for _host, vms in sorted(cluster.vms().items())] == [1, 0, 0, 0, 0, 0]
        assert not any(cluster.sessions().values())
        assert_works_on(cluster, "host-1")
    finally:
        cluster.ssh("host-2", f"umount {folder}")
    done = cluster.play(PLAYBOOK, **REQUEST)
    assert done.code == 0, done.output
    assert_works_on(cluster, "host-2")


def test_a_timeout(cluster, vm):
    process = under_way(cluster, relocate_timeout=5, relocate_progress_interval=1)
    output = assert_never_left(cluster, process, "is still active after 5 s")
    assert len(re.findall(r"^VM big to host-2: active, [0-9]+ % of .* left, [0-9]+[KM]iB/s, ", output, re.M)) > 1


BUSY = f"console=ttyS0 quiet {SOON_UP} smemv.fill=32M smemv.rate=4000"


@pytest.fixture
def busy_vm(cluster, configuration):
    """VM big, with a guest that dirties some MiB a second."""
    try:
        cluster.module("host-1", "vm", **{**configuration, "append": BUSY})
        cluster.wait_for_guest("host-1", "big")
        yield
    finally:
        clear(cluster)


@pytest.mark.nightly
def test_a_migration_that_does_not_converge_is_given_up(cluster, busy_vm):
    process = under_way(cluster, bandwidth="3MiB", relocate_max_downtime=200, relocate_on_stall="fail")
    assert_never_left(cluster, process, "host-1: the migration of VM big does not converge: for 30 s", "was cancelled")


@pytest.mark.nightly
def test_a_migration_that_does_not_converge_is_helped(cluster, busy_vm):
    process = under_way(cluster, bandwidth="3MiB", relocate_max_downtime=200, relocate_on_stall="throttle")
    output, _none = process.communicate(timeout=400)
    assert process.returncode == 0, output
    assert re.search(r"its processors are slowed by [0-9]+ %", output), output
    assert_works_on(cluster, "host-2")


def test_a_memserver_that_holds_pages_is_restarted_and_keeps_them(cluster, vm):
    done = cluster.play(PLAYBOOK, **REQUEST)
    assert done.code == 0, done.output
    refused = cluster.play("site.yml", "--limit", "host-3", memserver_capacity="16MiB")
    assert refused.code != 0, refused.output
    assert "host-3: VMs have reserved " in refused.message
    before = cluster.sessions()["host-3"]
    process = "systemctl show --property=MainPID --value smemv-memserver"
    first = cluster.ssh("host-3", process)
    for capacity in ({"memserver_capacity": "1GiB"}, {}):
        done = cluster.play("site.yml", "--limit", "host-3", **capacity)
        assert (done.code, done.changed > 0) == (0, True), done.output
        assert cluster.ssh("host-3", process) != first
        first = cluster.ssh("host-3", process)
        (there,) = cluster.sessions()["host-3"]
        assert (there["id"], there["reserved"]) == (before[0]["id"], before[0]["reserved"])
        assert_works_on(cluster, "host-2")
