# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM is split, brought back, moved on; in any order, and cut off anywhere."""

from __future__ import annotations

import pytest

from tests.integration import browser
from tests.integration.cluster import wait_for
from tests.integration.conftest import kill
from tests.integration.operations import consolidate, remigrate, split

HERE = consolidate("host-1")
THREE = split("host-2", "host-3", "host-4")
OTHER_THREE = remigrate("host-5", "host-1", "host-6", limit=192)


def test_split_moved_on_and_brought_back_with_sealed_pages(cluster, vm, tmp_path):
    """Sealed pages are asked for once; they stay so until the VM is whole. A report tells of each operation."""
    drawn = ("host-3", "Sent to each host", "Downtime", "waited for by", "by address", "Until a page was there")
    # So slow that it is looked at more than once, however long a look takes.
    done_with_report(cluster, THREE, tmp_path, *drawn, relocate_seal=True, relocate_bandwidth="16MiB")
    assert_sealed(cluster, "host-2", True)
    refused = OTHER_THREE.play(cluster, relocate_tls=False)
    assert refused.code, refused.output
    assert "sealed pages need relocate_tls" in refused.message
    THREE.check(cluster)
    done_with_report(cluster, OTHER_THREE, tmp_path, "remigrate")
    assert_sealed(cluster, "host-5", True)
    done_with_report(cluster, HERE, tmp_path, "consolidate")
    assert_sealed(cluster, "host-1", False)


def done_with_report(cluster, operation, folder, *texts, **variables):
    """Done by one run of the playbook, and a page says so that a browser can show."""
    report = folder / f"{operation.main}.html"
    operation.done(cluster, relocate_report=str(report), relocate_progress_interval=1, **variables)
    page = browser.look(report)
    assert page.title == "Relocation of VM big"
    for text in ("Placement", "Where the guest's memory is", f"VM big runs on {operation.main}", *texts):
        assert text in page.text
    assert page.colours > 20


def assert_sealed(cluster, main, sealed):
    (big,) = cluster.module(main, "vm_info")[main]["vms"]
    assert big["memory"]["sealed"] is sealed


@pytest.mark.nightly
def test_to_three_hosts_back_to_three_others_and_back(cluster, vm):
    THREE.done(cluster)
    HERE.four_ways(cluster, before=THREE)
    THREE.done(cluster)
    OTHER_THREE.four_ways(cluster, before=THREE)
    # One of its sub-hosts takes it whole.
    HERE.done(cluster)


@pytest.mark.nightly
def test_in_place(cluster, vm):
    THREE.done(cluster)
    fewer = remigrate("host-2", "host-4")
    fewer.four_ways(cluster, before=THREE)
    lower = remigrate("host-2", "host-4", "host-5", limit=128)
    lower.done(cluster)
    consolidate("host-2").four_ways(cluster, before=lower)


@pytest.mark.nightly
def test_main_host_and_sub_host_change_places(cluster, vm):
    THREE.done(cluster)
    remigrate("host-3", "host-2", "host-4").done(cluster)


FILES = "/var/lib/smemv/vm/big"


def listening(cluster, _source, destination):
    return cluster.try_ssh(destination, f"test -e {FILES}/incoming.env").returncode == 0


def migrating(cluster, source, _destination):
    return cluster.ssh(source, "ss --tcp --numeric --no-header state established dport = :4780")


def adopted(cluster, _source, destination):
    return cluster.try_ssh(destination, f"test -e {FILES}/config.json -a ! -e {FILES}/incoming.env").returncode == 0


def released(cluster, source, _destination):
    return cluster.try_ssh(source, f"test ! -e {FILES}").returncode == 0


def moved(cluster, *_hosts):
    return sorted(vms[0]["state"] for vms in cluster.vms().values() if vms) == ["moved", "running"]


CUTS = [
    (THREE, listening, None),
    (OTHER_THREE, migrating, None),
    (HERE, migrating, moved),
    (THREE, adopted, None),
    (remigrate("host-5", "host-4", "host-6"), released, None),
    (HERE, released, None),
    (THREE, migrating, moved),
    (OTHER_THREE, adopted, None),
    (HERE, listening, None),
    (THREE, released, None),
]


@pytest.mark.nightly
@pytest.mark.timeout(2400, func_only=True)
def test_cut_off_anywhere(cluster, vm):
    """The controller is killed at ten points of the operations, each of which is then run again."""
    source = "host-1"
    for operation, point, later in CUTS:
        cut_off(cluster, source, operation, point, later)
        again = operation.play(cluster)
        assert again.code == 0, f"{operation} cut off when {point.__name__}: {again.output}"
        operation.check(cluster)
        source = operation.main


def cut_off(cluster, source, operation, point, later):
    """Kill the controller when ``point`` has come about; and let ``later`` come about, if it is given."""
    process = cluster.begin(operation.playbook, relocate_bandwidth="32MiB", **operation.request)
    wait_for(lambda: point(cluster, source, operation.main), 120, f"{operation}: {point.__name__}")
    kill(process)
    if later:
        wait_for(lambda: later(cluster), 120, f"{operation}: {later.__name__}")


@pytest.mark.nightly
def test_a_destination_that_dies_leaves_the_vm_as_it_was(cluster, vm):
    THREE.done(cluster)
    process = cluster.begin(OTHER_THREE.playbook, relocate_bandwidth="8MiB", **OTHER_THREE.request)
    wait_for(lambda: migrating(cluster, "host-2", "host-5"), 120, "the migration")
    cluster.ssh("host-5", "systemctl kill --signal KILL smemv-vm-big")
    output, _none = process.communicate(timeout=240)
    assert process.returncode != 0, output
    assert "VM big was not moved to host-5: host-2: " in output
    assert "It runs on host-2, as before." in output
    THREE.check(cluster)
    OTHER_THREE.done(cluster)


@pytest.mark.nightly
def test_sub_hosts_pages_go_straight_from_memserver_to_memserver(cluster, vm):
    limit = 64 << 20
    split("host-2", "host-3", "host-4", limit=64).done(cluster)
    (machine,) = cluster.vms()["host-2"]
    remote = sum(host["remote"] for host in machine["memory"]["sub_hosts"])
    assert remote > 2 * limit

    moves = remigrate("host-5", "host-1", "host-6", limit=64)
    counted = traffic_of(cluster, moves)
    # What is resident goes from main host to main host; the guest's own paging and Ansible come on top.
    for host in ("host-2", "host-5"):
        assert counted[host] < limit * 1.25 + paged(cluster, "host-5") + OVERHEAD, counted
    assert counted["host-3"] + counted["host-4"] > remote
    assert counted["host-1"] + counted["host-6"] > remote

    counted = traffic_of(cluster, remigrate("host-2", "host-1", "host-6", limit=64))
    for host in ("host-1", "host-6"):
        assert counted[host] < paged(cluster, "host-2") + OVERHEAD, counted


# Ansible's modules, QMP's answers, TCP's headers.
OVERHEAD = 24 << 20
HOSTS = [f"host-{number}" for number in range(1, 7)]


def traffic_of(cluster, operation):
    """By host, the bytes that went through its card during an operation."""
    before = {host: cluster.traffic(host) for host in HOSTS}
    operation.done(cluster)
    counted = {host: cluster.traffic(host) - before[host] for host in HOSTS}
    print(operation.playbook, {host: f"{count >> 20} MiB" for host, count in counted.items()})
    return counted


def paged(cluster, host):
    """Bytes of pages that the VM there has paged in and out."""
    (machine,) = cluster.vms()[host]
    return (machine["memory"]["pages_in"] + machine["memory"]["pages_out"]) * 4096
