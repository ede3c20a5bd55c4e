# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of a lab: rates are real, cables can be pulled, and labs do not see each other."""
from __future__ import annotations

import os

import pytest

from tests.lab.cli import CliLab

SEND = """
import socket, time
data = bytes(1 << 20)
link = socket.create_connection(("{target}", 5001))
start = time.monotonic()
for _ in range({mebibytes}):
    link.sendall(data)
link.shutdown(socket.SHUT_WR)
assert link.recv(1) == b""  # the other side closes when it has read everything
print({mebibytes} * 8 * 1.048576 / (time.monotonic() - start))
"""


def throughput(lab, source, target, mebibytes):
    """Return the Mbit/s at which one host's program sends to another's."""
    lab.ssh(target, "systemd-run --quiet --unit=sink --collect socat -u TCP-LISTEN:5001,reuseaddr OPEN:/dev/null")
    lab.ssh(target, "until ss -Hltn sport = 5001 | grep -q LISTEN; do sleep 0.01; done")
    program = SEND.format(target=target, mebibytes=mebibytes)
    return float(lab.ssh(source, f"python3 -c '{program}'"))


@pytest.mark.parametrize(("source", "target"), [("host-1", "host-2"), ("host-2", "host-1")])
def test_rate_is_held_both_ways(lab, source, target):
    lab.run("rate", "host-1", "50")
    # Headers take 5 %; the first 256 KiB of 10 MiB pass at once. The bucket holds 40 ms of the rate, so that waiting
    # for a processor of this machine takes nothing away.
    assert 45 < throughput(lab, source, target, 10) < 52
    lab.run("rate", "host-1", "0")
    assert throughput(lab, source, target, 100) > 400


def test_a_pulled_cable_is_noticed_and_plugged_in_again(lab):
    lab.run("link", "host-1", "down")
    assert lab.run("exec", "host-1", "cat", "/sys/class/net/eth0/carrier").strip() == "0"
    assert lab.try_ssh("host-1", "true").returncode == 255
    lab.run("link", "host-1", "up")
    assert lab.ssh("host-1", "cat /sys/class/net/eth0/carrier") == "1"


def test_hosts_have_the_kernels_congestion_control_whatever_the_machine_has(lab):
    assert lab.run("exec", "host-1", "cat", "/proc/sys/net/ipv4/tcp_congestion_control").strip() == "cubic"


def test_two_labs_are_apart(lab):
    other = CliLab(f"o{os.getpid()}")
    try:
        other.run("up", "--hosts", "1")
        address = other.ssh("host-1", "hostname -I").strip()
        assert address != lab.ssh("host-1", "hostname -I").strip()
        assert lab.try_ssh("host-1", f"ping -c 1 -W 1 {address}").returncode == 1
        assert lab.ssh("host-1", "ping -c 1 -W 1 host-2")
    finally:
        other.run("down")
    assert lab.ssh("host-1", "systemctl is-system-running") == "running"
