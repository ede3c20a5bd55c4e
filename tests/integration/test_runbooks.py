# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of docs/runbooks, word for word, in their order."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.integration.cluster import assert_layout, assert_works_on, wait_for
from tests.integration.conftest import kill
from tests.integration.operations import MIB, consolidate, split
from tests.lab.cli import CHECKOUT

RUNBOOKS = CHECKOUT / "docs" / "runbooks"
SPLIT = split("host-2", "host-3", "host-4")


def commands(runbook: str, section: str = "") -> str:
    """What stands in the fenced blocks of a runbook, or of one of its sections."""
    text = (RUNBOOKS / runbook).read_text(encoding="utf-8")
    if section:
        (text,) = [part for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.startswith(section + "\n")]
    blocks = re.findall(r"^```shell\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    return "".join(blocks)


def follow(cluster, runbook: str, section: str = "") -> str:
    """Run them as an operator would, and stop at the first that fails; what they said."""
    done = subprocess.run(
        cluster.command("bash", "-exc", commands(runbook, section)),
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_runbook_is_run_here():
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in RUNBOOKS.glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\((\S+\.md)\)", index)) == files == set(RUN)
    sections = re.findall(r"^## (.*)$", (RUNBOOKS / "recovery.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == list(RECOVERIES)


def test_maintenance_of_a_sub_host(cluster, vm):
    SPLIT.done(cluster)
    follow(cluster, "sub-host.md")
    SPLIT.check(cluster)


@pytest.mark.nightly
def test_the_operations(cluster, vm):
    follow(cluster, "operations.md")
    consolidate("host-1").check(cluster)


@pytest.mark.nightly
def test_maintenance_of_a_main_host(cluster, vm):
    SPLIT.done(cluster)
    follow(cluster, "main-host.md")
    SPLIT.check(cluster)


@pytest.mark.nightly
def test_new_certificates(cluster, vm):
    SPLIT.done(cluster)
    serial = "openssl x509 -noout -serial -in /etc/smemv/pki/server-cert.pem"
    key = "sha256sum </etc/smemv/pki/server-key.pem"
    before = cluster.ssh("host-2", serial), cluster.ssh("host-3", key)
    follow(cluster, "certificates.md")
    assert cluster.ssh("host-2", serial) != before[0]
    assert cluster.ssh("host-3", key) != before[1]
    SPLIT.check(cluster)


@pytest.mark.nightly
def test_an_upgrade(cluster, vm):
    SPLIT.done(cluster)
    follow(cluster, "upgrade.md")
    ((main, _machines),) = [(host, vms) for host, vms in cluster.vms().items() if vms]
    assert main != "host-2"
    assert_layout(cluster, main, ["host-3", "host-4"], 256 * MIB)
    assert_works_on(cluster, main)


def under_way(cluster):
    """A split migration that has begun; the process of its playbook."""
    process = cluster.begin(SPLIT.playbook, relocate_bandwidth="4MiB", **SPLIT.request)
    connections = "ss --tcp --numeric --no-header state established dport = :4770"
    wait_for(lambda: cluster.ssh("host-1", connections), 180, "a connection to a memserver")
    return process


def cut_off(cluster):
    kill(under_way(cluster))
    follow(cluster, "recovery.md", "A playbook was cut off")
    SPLIT.check(cluster)


def called_off(cluster):
    kill(under_way(cluster))
    follow(cluster, "recovery.md", "A migration is to be called off")
    consolidate("host-1").check(cluster)


def not_converging(cluster):
    follow(cluster, "recovery.md", "A migration does not converge")
    SPLIT.check(cluster)


def crashed(cluster):
    SPLIT.done(cluster)
    cluster.ssh("host-3", "systemctl kill --signal KILL smemv-memserver")
    wait_for(lambda: cluster.try_ssh("host-3", "systemctl is-active smemv-memserver").returncode == 0)
    assert '"running": true' in follow(cluster, "recovery.md", "A memserver has crashed")
    SPLIT.check(cluster)


def connected(cluster):
    """Of each sub-host, whether its memserver answers."""
    (machine,) = cluster.module("host-2", "vm_info")["host-2"]["vms"]
    return [host["connected"] for host in machine["memory"]["sub_hosts"]]


def cut_link(cluster):
    SPLIT.done(cluster)
    cluster.run("link", "host-3", "down")
    try:
        wait_for(lambda: not all(connected(cluster)), 120, "the loss")
    finally:
        cluster.run("link", "host-3", "up")
    follow(cluster, "recovery.md", "A sub-host cannot be reached")
    assert_layout(cluster, "host-2", ["host-4"], 256 * MIB)
    assert_works_on(cluster, "host-2")


def lost(cluster):
    SPLIT.done(cluster)
    for command in ("stop --job-mode=replace-irreversibly", "clean --what=fdstore", "start"):
        cluster.ssh("host-3", f"systemctl {command} smemv-memserver")
    follow(cluster, "recovery.md", "A sub-host is lost, with its memory")
    assert not any(cluster.vms().values())
    assert not any(cluster.sessions().values())


def paused(cluster):
    SPLIT.done(cluster)
    said = follow(cluster, "recovery.md", "A VM is paused, as it may run at the destination")
    assert '"state": "running"' in said


RECOVERIES = {
    "A playbook was cut off": cut_off,
    "A migration is to be called off": called_off,
    "A migration does not converge": not_converging,
    "A memserver has crashed": crashed,
    "A sub-host cannot be reached": cut_link,
    "A sub-host is lost, with its memory": lost,
    "A VM is paused, as it may run at the destination": paused,
}
RUN = ["operations.md", "main-host.md", "sub-host.md", "certificates.md", "upgrade.md", "recovery.md"]


@pytest.mark.nightly
@pytest.mark.parametrize("recover", RECOVERIES.values())
def test_recovery(cluster, vm, recover):
    recover(cluster)
