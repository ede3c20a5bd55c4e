# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing of a lab is left when it is down, whatever happened to it."""
from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.lab.cli import STATE, machine_settings


@pytest.fixture(autouse=True)
def clean_machine(no_lab):
    """The machine must be afterwards as it was before."""
    before = machine_settings()
    yield
    no_lab.run("down")
    assert no_lab.traces() == []
    # Other labs keep what they share for as long as they are up.
    if not STATE.exists():
        assert machine_settings() == (*before[:2], False)


def test_after_use(no_lab):
    no_lab.run("up", "--hosts", "2")
    assert no_lab.shell("ansible all -m ping --one-line").count("SUCCESS") == 2
    assert no_lab.ssh("host-1", "true") == ""
    assert len(no_lab.traces()) > 10


def test_after_a_failed_up(no_lab):
    subprocess.run(["ip", "link", "add", f"sv-{no_lab.name}", "type", "veth", "peer", "name", "svpeer"], check=True)
    done = no_lab.try_run("up", "--hosts", "2")
    assert done.returncode == 1
    assert "File exists" in done.stderr


def test_up_after_a_failed_up_works(no_lab):
    test_after_a_failed_up(no_lab)
    subprocess.run(["ip", "link", "delete", f"sv-{no_lab.name}"], check=True)
    no_lab.run("up")
    assert no_lab.ssh("host-1", "ping -c 1 -W 1 198.19.$(hostname -I | cut -d . -f 3).1")


def test_after_killed_hosts(no_lab):
    no_lab.run("up", "--hosts", "2")
    no_lab.run("kill", "host-1")
    no_lab.run("kill", "--crash", "host-2")


def test_after_a_killed_nspawn(no_lab):
    no_lab.run("up", "--hosts", "1")
    found = subprocess.run(["pgrep", "-f", f"^systemd-nspawn .*--machine=sv-{no_lab.name}-host-1"],
                           capture_output=True, text=True, check=True).stdout.split()
    assert len(found) == 1
    os.kill(int(found[0]), signal.SIGKILL)


def test_after_a_killed_lxcfs(no_lab):
    no_lab.run("up", "--hosts", "1")
    os.kill(int((STATE / no_lab.name / "lxcfs.pid").read_text()), signal.SIGKILL)
    no_lab.run("kill", "--crash", "host-1")
    no_lab.run("up")
    assert "MemTotal:        4194304 kB" in no_lab.ssh("host-1", "cat /proc/meminfo")
    no_lab.run("kill", "--crash", "host-1")
    os.kill(int((STATE / no_lab.name / "lxcfs.pid").read_text()), signal.SIGKILL)


def test_twice(no_lab):
    no_lab.run("up", "--hosts", "1")
    no_lab.run("down")
    no_lab.run("down")


def test_up_after_down_is_a_new_lab(no_lab):
    no_lab.run("up", "--hosts", "1")
    no_lab.ssh("host-1", "touch /root/note")
    no_lab.run("down")
    no_lab.run("up", "--hosts", "1")
    assert no_lab.try_ssh("host-1", "test -e /root/note").returncode == 1
