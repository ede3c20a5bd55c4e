# SPDX-License-Identifier: GPL-3.0-or-later
"""maintain_host.yml, drain_memserver.yml and give_back_host.yml: what they leave, and what they refuse."""

from __future__ import annotations

import pytest

from tests.integration.cluster import assert_layout, assert_works_on
from tests.integration.operations import MIB, remigrate, split


def maintenance(cluster):
    """By host in maintenance, why."""
    infos = cluster.module("kvm_hosts", "host_info")
    return {host: info["maintenance"] for host, info in infos.items() if info["maintenance"]}


def four_ways(cluster, playbook, host, before):
    request = {"host": host, "reason": f"new disks in {host}"}
    marked = maintenance(cluster)
    foretold = cluster.play(playbook, "--check", **request)
    assert (foretold.code, foretold.changed > 0) == (0, True), foretold.output
    before()
    assert maintenance(cluster) == marked
    done = cluster.play(playbook, **request)
    assert (done.code, done.changed > 0) == (0, True), done.output
    assert maintenance(cluster) == {**marked, host: f"new disks in {host}"}
    for mode in (["--check"], []):
        again = cluster.play(playbook, *mode, **request)
        assert (again.code, again.changed) == (0, 0), again.output


def where(cluster):
    """The one host that has the VM."""
    (host,) = (host for host, vms in cluster.vms().items() if vms)
    return host


@pytest.mark.nightly
@pytest.mark.timeout(2400, func_only=True)
def test_a_sub_host_and_then_a_main_host(cluster, vm):
    three = split("host-2", "host-3", "host-4")
    three.done(cluster)
    four_ways(cluster, "drain_memserver.yml", "host-3", before=lambda: three.check(cluster))
    assert_layout(cluster, "host-2", ["host-4"], 256 * MIB)

    for request in (remigrate("host-3", "host-4"), remigrate("host-5", "host-3", "host-4")):
        refused = request.play(cluster)
        assert (refused.code != 0, refused.changed) == (True, 0), refused.output
        assert "host-3: is in maintenance: new disks in host-3" in refused.message

    four_ways(cluster, "maintain_host.yml", "host-2", before=lambda: remigrate("host-2", "host-4").check(cluster))
    main = where(cluster)
    assert main not in ("host-2", "host-3", "host-4")
    assert_layout(cluster, main, ["host-4"], 256 * MIB)
    assert_works_on(cluster, main)

    for host, left in (("host-3", {"host-2"}), ("host-2", set())):
        assert cluster.play("give_back_host.yml", host=host).changed == 1
        assert cluster.play("give_back_host.yml", host=host).changed == 0
        assert set(maintenance(cluster)) == left
    remigrate("host-2", "host-3").done(cluster)


def test_a_whole_vm_leaves_whole(cluster, vm):
    assert cluster.play("maintain_host.yml", host="host-1").code == 0
    assert_layout(cluster, where(cluster))
    assert where(cluster) != "host-1"


def test_what_can_go_nowhere_stays_and_the_host_is_not_marked(cluster, vm):
    for host in ("host-2", "host-3", "host-4", "host-5", "host-6"):
        cluster.ssh(host, "mkdir --parents /etc/smemv && echo 'no power' >/etc/smemv/maintenance")
    refused = cluster.play("maintain_host.yml", host="host-1")
    assert (refused.code != 0, refused.changed) == (True, 0), refused.output
    assert "host-1: holds VM big or pages of it, which cannot go elsewhere" in refused.message
    assert "host-2: is in maintenance: no power" in refused.message
    assert "host-1" not in maintenance(cluster)
    assert_works_on(cluster, "host-1")
