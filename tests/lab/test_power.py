# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that reboot, crash, lose power and come back."""
from __future__ import annotations

import time

BOOT_ID = "systemctl show --property=UserspaceTimestampMonotonic"


def wait_for(condition, seconds=30):
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "still not so"
        time.sleep(0.1)


def test_reboot_comes_back_with_the_same_disk_and_limit(lab):
    lab.ssh("host-1", "echo kept > /root/note; echo lost > /run/note")
    before = lab.ssh("host-1", BOOT_ID)
    lab.try_ssh("host-1", "systemctl reboot")
    wait_for(lambda: lab.try_ssh("host-1", BOOT_ID).stdout.strip() not in ("", before))
    wait_for(lambda: lab.try_ssh("host-1", "systemctl is-system-running").stdout.strip() == "running")
    assert lab.ssh("host-1", "cat /root/note; ls /run/note 2>&1 || true").startswith("kept\nls: cannot access")
    assert "MemTotal:         524288 kB" in lab.ssh("host-1", "cat /proc/meminfo")


def test_power_off_from_inside_and_up_again(lab):
    lab.try_ssh("host-1", "systemctl poweroff")
    wait_for(lambda: "host-1    " in lab.run("list") and lab.run("list").count(", off") == 1)
    lab.run("up")
    assert lab.ssh("host-1", "systemctl is-system-running") == "running"


def listen(lab):
    """Connect host-2 to a program of host-1 that says nothing; host-2 notes when the connection ends."""
    lab.ssh("host-1", "systemd-run --quiet --unit=silent socat TCP-LISTEN:5002,reuseaddr EXEC:'sleep 1000'")
    lab.ssh("host-1", "until ss -Hltn sport = 5002 | grep -q LISTEN; do sleep 0.01; done")
    lab.ssh("host-2", "systemd-run --quiet --unit=peer --collect socat -u TCP:host-1:5002 OPEN:/dev/null")
    lab.ssh("host-2", "until ss -Htn dport = 5002 | grep -q ESTAB; do sleep 0.01; done")


def peer_connected(lab):
    return "ESTAB" in lab.ssh("host-2", "ss -Htn dport = 5002")


def test_crash_closes_connections(lab):
    listen(lab)
    lab.run("kill", "--crash", "host-1")
    assert lab.try_ssh("host-1", "true").returncode == 255
    wait_for(lambda: not peer_connected(lab), 5)
    lab.run("start", "host-1")
    assert lab.ssh("host-1", "systemctl is-system-running") == "running"


def test_power_cut_is_silent(lab):
    listen(lab)
    lab.run("kill", "host-1")
    time.sleep(1)
    assert peer_connected(lab)
    lab.run("start", "host-1")
    assert lab.ssh("host-1", "systemctl is-system-running") == "running"
    # Host-1 knows nothing of the connection now and says so as soon as it is asked.
    lab.ssh("host-2", "systemctl stop peer")
