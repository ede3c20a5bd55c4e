# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of other releases: Debian 12, whose systemd and libraries are older, and Ubuntu; with a kernel new enough."""

from __future__ import annotations

import os

import pytest

from lab.release import RELEASES
from lab.settings import LabError
from tests.integration.cluster import Cluster, assert_works_on
from tests.integration.conftest import big, clear
from tests.integration.operations import consolidate, split


@pytest.fixture(scope="module", params=["12", "24.04"])
def hosts(request):
    """Three of them, prepared by site.yml; the first builds QEMU if it is not in the cache yet."""
    try:
        RELEASES[request.param].mirror()
    except LabError as error:
        pytest.skip(str(error))
    hosts = Cluster(f"d{os.getpid()}")
    hosts.run("up", "--hosts", "3", "--memory", "3G", "--release", request.param)
    try:
        installed = hosts.install()
        assert installed.code == 0, installed.output
        hosts.lay_guest()
        yield hosts
    finally:
        hosts.run("down")


@pytest.mark.nightly
def test_a_second_run_changes_nothing(hosts):
    for mode in (["--check"], []):
        again = hosts.play("site.yml", *mode)
        assert (again.code, again.changed) == (0, 0), again.output


@pytest.mark.nightly
def test_there_and_back_and_a_restart_of_the_memserver(hosts):
    try:
        started = hosts.module("host-1", "vm", **big(hosts))["host-1"]
        assert started["changed"], started
        hosts.wait_for_guest("host-1", "big")
        split("host-2", "host-3").done(hosts)
        hosts.ssh("host-3", "systemctl restart smemv-memserver")
        assert_works_on(hosts, "host-2")
        refused = hosts.try_ssh("host-3", "systemctl stop smemv-memserver")
        assert refused.returncode != 0, refused
        assert_works_on(hosts, "host-2")
        consolidate("host-1").done(hosts)
    finally:
        clear(hosts)
