# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml: what it leaves on a host, asked from systemd, and that it does nothing twice."""

from __future__ import annotations

import pytest

from native.bench import huge_pages
from tests.artifact import install
from tests.integration.cluster import Play


@pytest.mark.parametrize("mode", [[], ["--check"]])
def test_a_second_run_changes_nothing(cluster, mode):
    again = cluster.play("site.yml", *mode)
    assert again.code == 0, again.output
    assert again.changed == 0, again.output


@pytest.mark.nightly
def test_the_installed_collection_prepares_hosts_as_the_checkout_does(cluster, tmp_path):
    artifact = install(tmp_path)
    inventory = str(cluster.inventory)
    again = artifact.run("ansible-playbook", "-i", inventory, "smemv.kvm.site")
    assert again.returncode == 0, again.stdout
    assert Play(0, again.stdout).changed == 0, again.stdout


def properties(cluster, unit, *names):
    """What systemd holds of a unit."""
    shown = cluster.ssh("host-3", f"systemctl show {unit} --property {','.join(names)}")
    return dict(line.split("=", 1) for line in shown.splitlines())


def test_the_memserver_is_sandboxed(cluster):
    wanted = {
        "ActiveState": "active", "UnitFileState": "enabled", "Type": "notify-reload", "User": "smemv",
        "Restart": "on-failure", "CapabilityBoundingSet": "", "NoNewPrivileges": "yes",
        "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateDevices": "yes", "PrivateUsers": "yes",
        "PrivateTmp": "yes", "RemoveIPC": "yes", "MemoryDenyWriteExecute": "yes", "RestrictNamespaces": "yes",
        "ProtectKernelTunables": "yes", "ProtectControlGroups": "yes", "LockPersonality": "yes",
    }  # fmt: skip
    assert properties(cluster, "smemv-memserver", *wanted) == wanted


def test_every_vm_is_sandboxed(cluster, configuration):
    wanted = {
        "Restart": "no",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "PrivateTmp": "yes",
        "RestrictSUIDSGID": "yes",
        "LockPersonality": "yes",
        "DevicePolicy": "closed",
    }
    cluster.module("host-3", "vm", **{**configuration, "state": "stopped"})
    shown = properties(cluster, "smemv-vm-big", *wanted, "CapabilityBoundingSet")
    cluster.module("host-3", "vm", name="big", state="absent")
    assert set(shown.pop("CapabilityBoundingSet").split()) == {"cap_dac_override", "cap_sys_ptrace"}
    assert shown == wanted


def test_memservers_hold_half_of_the_hosts_memory(cluster):
    for host, info in cluster.module("memservers", "host_info").items():
        assert info["memserver"]["running"], host
        assert info["memserver"]["capacity"] == info["memory"]["total"] // 8192 * 4096


def test_every_host_has_the_same_qemu(cluster):
    answers = cluster.module("kvm_hosts", "host_info").values()
    assert all(answer["qemu"]["smemv"] for answer in answers)
    (version,) = {answer["qemu"]["version"] for answer in answers}
    assert "smemv-" in version


@pytest.mark.parametrize(
    ("capacity", "message"),
    [("2G", "is not a size"), ("64GiB", "which has to be no more"), ("0B", "which has to be no more")],
)
def test_a_capacity_that_cannot_be(cluster, capacity, message):
    refused = cluster.play("site.yml", "--limit", "host-3", memserver_capacity=capacity)
    assert refused.code != 0
    assert message in refused.message
    assert cluster.ssh("host-3", "systemctl is-active smemv-memserver") == "active"


def test_huge_pages_that_were_set_aside(cluster):
    def play(**variables):
        return cluster.play("site.yml", "--limit", "host-3", **variables)

    with huge_pages.set_aside(0):
        there = huge_pages.count()
        capacity = (there + 1) * huge_pages.SIZE
        wanted = {"memserver_huge_pages": True, "memserver_capacity": f"{capacity >> 20}MiB"}
        refused = play(**wanted)
    assert refused.code != 0
    assert f"host-3 has set aside {there} huge pages of 2 MiB, and memserver_capacity " in refused.message
    assert f" wants {there + 9}: set vm.nr_hugepages " in refused.message
    with huge_pages.set_aside(9 * huge_pages.SIZE):
        try:
            done = play(**wanted)
            assert done.code == 0, done.output
            memserver = cluster.module("host-3", "host_info")["host-3"]["memserver"]
            assert (memserver["huge_pages"], memserver["capacity"]) == (True, capacity)
            again = play(**wanted)
            assert (again.code, again.changed) == (0, 0), again.output
        finally:
            back = play()
        assert back.code == 0, back.output
