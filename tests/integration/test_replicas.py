# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM with two copies of its pages: what a sub-host that loses its power costs it."""

from __future__ import annotations

from tests.integration.cluster import assert_layout, assert_works_on, wait_for

SUB_HOSTS = ["host-3", "host-4", "host-5"]
REQUEST = {"vm": "big", "destination_host": "host-2", "sub_hosts": SUB_HOSTS, "main_memory": "256MiB"}


def memory(cluster):
    (machine,) = cluster.module("host-2", "vm_info")["host-2"]["vms"]
    return machine["memory"]


def test_a_sub_host_that_loses_its_power(cluster, vm):
    done = cluster.play("migrate_large_vm.yml", **REQUEST, relocate_replicas=2)
    assert done.code == 0, done.output
    assert "each page on two of them" in done.output
    before = memory(cluster)
    assert before["replicas"] == 2
    assert sum(host["share"] for host in before["sub_hosts"]) == 2 * ((512 << 20) - (256 << 20) // 16 * 15)
    assert cluster.play("migrate_large_vm.yml", **REQUEST, relocate_replicas=2).changed == 0

    cluster.run("kill", "host-3")
    try:
        wait_for(lambda: [host["name"] for host in memory(cluster)["sub_hosts"] if host["failed"]] == ["host-3"])
        assert_works_on(cluster, "host-2")
        wait_for(lambda: memory(cluster)["single"] == 0, what="second copies")
        assert_works_on(cluster, "host-2")
    finally:
        cluster.run("start", "host-3")
    # It has come back without what it held, and is no sub-host of the VM any more.
    wait_for(lambda: [host["name"] for host in memory(cluster)["sub_hosts"]] == ["host-4", "host-5"])
    back = cluster.play("consolidate_vm.yml", vm="big", destination_host="host-2")
    assert back.code == 0, back.output
    assert_layout(cluster, "host-2")
    assert_works_on(cluster, "host-2")
