# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml on hosts that are new: check mode tells what would change and touches nothing; then run, and both again."""

from __future__ import annotations

import os

import pytest

from tests.integration.cluster import Cluster

# What the roles leave on a host.
TRACES = "ls -d /etc/smemv /usr/local/*/smemv* /etc/systemd/system/smemv* /var/lib/smemv* 2>/dev/null"


@pytest.fixture
def hosts():
    hosts = Cluster(f"f{os.getpid()}")
    hosts.run("up", "--hosts", "2", "--memory", "1G")
    try:
        yield hosts
    finally:
        hosts.run("down")


@pytest.mark.nightly
def test_new_hosts(hosts):
    def traces():
        return [hosts.try_ssh(host, TRACES).stdout for host in ("host-1", "host-2")]

    new = traces()
    told = hosts.play("site.yml", "--check")
    assert told.code == 0, told.output
    assert min(counts["changed"] for counts in told.recap.values()) > 0
    assert traces() == new

    done = hosts.play("site.yml")
    assert done.code == 0, done.output
    assert min(counts["changed"] for counts in done.recap.values()) > 0
    assert traces() != new

    for mode in (["--check"], []):
        again = hosts.play("site.yml", *mode)
        assert again.code == 0, again.output
        assert again.changed == 0, again.output
