# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory limit of a host is real: what does not fit is killed, in that host alone."""
from __future__ import annotations

MIB = 2**20


def take(lab, mebibytes):
    """Use so much memory in a process of host-1."""
    return lab.try_ssh("host-1", f"python3 -c 'b = bytearray({mebibytes * MIB}); b[::4096] = b[::4096]; print(len(b))'")


def test_more_than_the_limit_is_killed_and_the_host_lives(lab):
    assert take(lab, 300).stdout.strip() == str(300 * MIB)
    assert take(lab, 600).returncode != 0
    assert lab.ssh("host-1", "systemctl is-system-running") == "running"


def test_limit_changes_while_the_host_runs(lab):
    lab.run("memory", "host-1", "1G")
    assert "MemTotal:        1048576 kB" in lab.ssh("host-1", "cat /proc/meminfo")
    assert take(lab, 600).returncode == 0
    lab.run("memory", "host-1", "512M")
    assert take(lab, 600).returncode != 0


def test_meminfo_follows_what_is_used(lab):
    def available(mebibytes):
        """Return the KiB available in host-1 while a process uses so much."""
        program = f"b = bytearray({mebibytes * MIB}); print(open(\"/proc/meminfo\").read())"
        return int(lab.ssh("host-1", f"python3 -c '{program}' | awk '/^MemAvailable/ {{print $2}}'"))

    little, much = available(1), available(201)
    assert 190 * 1024 < little - much < 210 * 1024


def test_a_limit_below_what_is_in_use_is_refused(lab):
    done = lab.try_run("memory", "host-1", "1M")
    assert done.returncode == 1
    assert "1048576" in done.stderr
