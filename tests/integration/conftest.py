# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab of six hosts for all these tests, prepared by site.yml, and a VM on it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.integration.cluster import GUEST, Cluster
from tests.qemu.guests import SOON_UP

SECONDS = 600
# By the threshold, so that sub-hosts have pages: all that the guest uses could be on the main host.
REQUEST = {
    "vm": "big",
    "destination_host": "host-2",
    "sub_hosts": ["host-3", "host-4"],
    "main_memory": "256MiB",
    "relocate_policy": "threshold",
}


def pytest_collection_modifyitems(items):
    """The first test of all may have to wait for QEMU to be built; a test's own time is limited all the same."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(SECONDS, func_only=True))


@pytest.fixture(scope="session")
def cluster():
    """Six hosts with QEMU and memservers. The first one builds what is not in the cache yet.

    With SMEMV_TEST_LAB in the environment that lab of six hosts is used, and stays up.
    """
    kept = os.environ.get("SMEMV_TEST_LAB")
    cluster = Cluster(kept or f"i{os.getpid()}")
    if not kept:
        cluster.run("up", "--hosts", "6", "--memory", "3G")
    try:
        installed = cluster.install()
        assert installed.code == 0, installed.output
        cluster.lay_guest()
        clear(cluster)
        yield cluster
    finally:
        if not kept:
            cluster.run("down")


@pytest.fixture(scope="session")
def configuration(cluster):
    """A VM of 512 MiB that checks 200 MiB of pages for ever, without haste."""
    return big(cluster)


def big(cluster):
    """What module vm is to be told of VM big; its disk is on the storage that the hosts share."""
    (cluster.folder / "shared/big.img").write_bytes(bytes(1 << 20))
    return {
        "name": "big", "memory": "512MiB", "vcpus": 2, "accel": "tcg",
        "kernel": f"{GUEST}/vmlinux", "initrd": f"{GUEST}/initrd",
        "append": f"console=ttyS0 quiet {SOON_UP} smemv.fill=200M smemv.rate=200",
        "disks": [{"path": "/srv/smemv/big.img"}], "nics": [{"type": "user"}],
    }  # fmt: skip


@pytest.fixture
def vm(cluster, configuration):
    """The VM, running on host-1 and on no other host; nothing is left of it afterwards."""
    try:
        started = cluster.module("host-1", "vm", **configuration)["host-1"]
        assert started["changed"], started
        cluster.wait_for_guest("host-1", "big")
        yield configuration
    finally:
        clear(cluster)


def clear(cluster):
    """No VM and no session on any host."""
    cleared = cluster.play("../tests/integration/clear.yml")
    assert cleared.code == 0, cleared.output


def kill(process):
    """Cut a controller off, with all that it started here."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
