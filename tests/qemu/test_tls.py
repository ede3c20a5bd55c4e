# SPDX-License-Identifier: GPL-3.0-or-later
"""A split VM whose pages travel by TLS only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpError

from tests.native.certificates import Authority
from tests.qemu.hosts import CREDENTIALS, Hosts, credentials, small
from tests.qemu.memserver import Memserver
from tests.qemu.split import MIB, run_within, set_target, shares, wait_until, where

pytestmark = pytest.mark.qemu


@pytest.mark.nightly
def test_every_operation(hosts: Hosts, main_host: list[str], start_with_tls: Callable[[], Memserver]) -> None:
    place = small()
    memservers = [start_with_tls() for _ in range(3)]
    first = hosts.running_vm(place, devices=main_host)
    second = hosts.vm(place, incoming=True, devices=main_host)
    set_target(first, "test", place.memory, place.limit, memservers[:2], tls_creds=CREDENTIALS)
    first.migrate_to(second)
    assert run_within(second, place.limit, seconds=5)["wrong"] == 0

    third = hosts.vm(place, incoming=True, devices=main_host)
    set_target(second, "test", place.memory, place.limit, memservers[1:])
    second.migrate_to(third)
    wait_until(lambda: not where(third)["rebalancing"])
    assert memservers[0].stat()["sessions"] == []
    assert run_within(third, place.limit, seconds=5)["wrong"] == 0

    third.qmp("smemv-rebalance", main_limit=place.memory, sub_hosts=[])
    wait_until(lambda: where(third)["state"] == "whole")
    assert [memserver.stat()["sessions"] for memserver in memservers] == [[], [], []]
    assert third.run_guest(2)["wrong"] == 0


def test_plain_main_host_is_refused(hosts: Hosts, start_with_tls: Callable[[], Memserver]) -> None:
    check_refused(hosts, start_with_tls(), [], {}, "sub-1")


def test_unknown_main_host_is_refused(
    hosts: Hosts, authority: Authority, tmp_path: Path, start_with_tls: Callable[[], Memserver]
) -> None:
    unknown = credentials(authority.issue(tmp_path / "main-2", "main-2", "DNS:main-2"))
    check_refused(hosts, start_with_tls(), unknown, {"tls_creds": CREDENTIALS}, "sub-1")


def test_credentials_that_are_not_there(hosts: Hosts, start_with_tls: Callable[[], Memserver]) -> None:
    check_refused(hosts, start_with_tls(), [], {"tls_creds": CREDENTIALS}, f"no TLS credentials '{CREDENTIALS}'")


def test_memserver_by_another_name_is_refused(
    hosts: Hosts, authority: Authority, tmp_path: Path, main_host: list[str], start_memserver: Callable[..., Memserver]
) -> None:
    folder = authority.issue(tmp_path / "other", "other", "DNS:other,IP:192.0.2.9")
    peers = tmp_path / "peers"
    peers.write_text("main-1\n")
    memserver = start_memserver(512 * MIB, options=["--tls", folder, "--peers", peers])
    check_refused(hosts, memserver, main_host, {"tls_creds": CREDENTIALS}, "sub-1")


def check_refused(
    hosts: Hosts, memserver: Memserver, devices: list[str], options: dict[str, object], message: str
) -> None:
    """The split migration fails with that message, and the VM runs on at its source."""
    place = small()
    source = hosts.running_vm(place, devices=devices)
    destination = hosts.vm(place, incoming=True)
    aim = [memserver.sub_host(share) for share in shares(place.memory, place.limit, 1)]
    source.set_capabilities("return-path")
    try:
        source.qmp("smemv-set-target", name="test", main_limit=place.limit, sub_hosts=aim, **options)
        source.qmp("migrate", uri=destination.listen())
        state = source.wait_for_migration(timeout=60)
        assert state["status"] == "failed"
        assert message in state["error-desc"]
    except QmpError as error:
        assert message in str(error)
    assert source.run_guest(1)["wrong"] == 0
    assert memserver.stat()["sessions"] == []
