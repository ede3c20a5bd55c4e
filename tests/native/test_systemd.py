# SPDX-License-Identifier: GPL-3.0-or-later
"""The memserver's unit under a real systemd: what it keeps, and what throws that away."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from tests.lab.cli import CHECKOUT, CliLab

UNIT = "smemv-memserver.service"
FORCED_STOP = f"systemctl stop --job-mode=replace-irreversibly {UNIT}"
BINARY = "/usr/local/bin/smemv-memserver"
TEMPLATE = CHECKOUT / "roles/memserver/templates/smemv-memserver.service.j2"
VALUES = {
    "memserver_address": "127.0.0.1",
    "memserver_port": 4770,
    "memserver_workers": 2,
    "memserver_huge_pages": False,
    "memserver_tls": False,
    "memserver_metrics": "",
    "__memserver_bytes": 64 << 20,
    "ansible_facts": {"systemd": {"version": 257}},
}


class Host(CliLab):
    """A lab of one host with the memserver's unit, as the role lays it."""

    def install(self, binary) -> None:
        for file in (binary, CHECKOUT / "tests/native/wire_client.py", CHECKOUT / "tests/native/kept_pages.py"):
            shutil.copy(file, self.folder / "shared")
        self.command("useradd --system --no-create-home smemv")
        self.command(f"cp /srv/smemv/smemv-memserver {BINARY}")
        unit = {"src": str(TEMPLATE), "dest": f"/etc/systemd/system/{UNIT}"}
        self.shell(f"ansible host-1 -m template -a '{json.dumps(unit)}' -e '{json.dumps(VALUES)}'")
        self.command(f"systemctl daemon-reload && systemctl enable --now {UNIT}")

    def command(self, command: str) -> str:
        return self.ssh("host-1", command)

    def pages(self, action: str) -> None:
        self.command(f"python3 /srv/smemv/kept_pages.py {action} 127.0.0.1 {VALUES['memserver_port']}")

    def property(self, name: str) -> str:
        return self.command(f"systemctl show {UNIT} --property {name} --value")

    def wait_until_it_serves(self, before: str) -> None:
        """Until another process than before has said READY."""
        self.command(
            f"timeout 20 sh -c 'until [ \"$(systemctl show {UNIT} -p MainPID --value)\" -ne {before} ] "
            f"&& systemctl is-active --quiet {UNIT}; do :; done'"
        )


@pytest.fixture(scope="module")
def host(memserver_plain):
    host = Host(f"s{os.getpid()}")
    host.run("up", "--hosts", "1", "--memory", "1G")
    try:
        host.install(memserver_plain)
        yield host
    finally:
        host.run("down")


@pytest.fixture
def stored(host):
    """The host, with pages stored; and nothing is kept afterwards."""
    host.pages("store")
    yield host
    host.command(f"{FORCED_STOP}; systemctl clean --what=fdstore {UNIT}; systemctl start {UNIT}")


@pytest.mark.parametrize(
    "ends",
    {
        "restart": f"systemctl restart {UNIT}",
        "stop and start": f"{FORCED_STOP} && systemctl start {UNIT}",
        "killed": f"systemctl kill --signal=KILL {UNIT}",
        "crashed": f"systemctl kill --signal=SEGV {UNIT}",
        "a new binary": f"cp {BINARY} {BINARY}.new && mv {BINARY}.new {BINARY} && systemctl restart {UNIT}",
        "daemon-reexec": f"systemctl daemon-reexec && systemctl restart {UNIT}",
    }.items(),
    ids=lambda case: case[0],
)
def test_pages_are_there_again_after(stored, ends):
    _name, command = ends
    for _ in range(2):
        before = stored.property("MainPID")
        stored.command(command)
        stored.wait_until_it_serves(before)
        stored.pages("check")
    assert stored.property("NFileDescriptorStore") == "3"


def test_a_stop_is_refused_while_it_holds_pages(stored):
    before = stored.property("MainPID")
    refused = stored.try_ssh("host-1", f"systemctl disable {UNIT}; systemctl stop {UNIT}")
    assert refused.returncode != 0
    assert "canceled" in refused.stderr
    stored.wait_until_it_serves(before)
    stored.pages("check")
    assert "Drain it first" in stored.command(f"journalctl --unit {UNIT} --lines 20")
    stored.pages("close")
    stored.command(f"systemctl stop {UNIT}")
    assert stored.property("ActiveState") == "inactive"
    stored.command(f"systemctl enable --now {UNIT}")


def test_what_is_closed_is_kept_no_more(stored):
    stored.pages("close")
    assert stored.property("NFileDescriptorStore") == "0"
    stored.command(f"systemctl restart {UNIT}")
    stored.pages("forgotten")


def test_clean_throws_pages_away(stored):
    stored.command(FORCED_STOP)
    assert stored.property("NFileDescriptorStore") == "3"
    stored.command(f"systemctl clean --what=fdstore {UNIT} && systemctl start {UNIT}")
    stored.pages("forgotten")
