# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab that is up: hosts like any others, reached as any others are."""
from __future__ import annotations

import re
import shutil
import subprocess

from tests.lab.cli import CHECKOUT


def test_systemd_runs_everything(lab):
    for host in ("host-1", "host-2"):
        assert lab.ssh(host, "systemctl is-system-running") == "running"
        assert lab.ssh(host, "hostname") == host
        assert "VERSION_CODENAME=trixie" in lab.ssh(host, "cat /etc/os-release")


def test_hosts_differ_in_what_must_differ(lab):
    for command in ("cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub", "cat /sys/class/net/eth0/address"):
        assert lab.ssh("host-1", command) != lab.ssh("host-2", command)


def test_hosts_know_each_other_by_name(lab):
    key = lab.ssh("host-2", "cut -d ' ' -f 2 /etc/ssh/ssh_host_ed25519_key.pub")
    assert key in lab.ssh("host-1", "ssh-keyscan -t ed25519 host-2")


def test_second_up_changes_nothing(lab):
    def state():
        files = [path.stat().st_mtime_ns for path in (lab.inventory, lab.folder / "ssh_config")]
        boot = "systemctl show --property=UserspaceTimestampMonotonic"
        return files, lab.ssh("host-1", boot), lab.ssh("host-2", boot), lab.run("list")

    before = state()
    lab.run("up")
    assert state() == before


def test_fewer_hosts_are_refused(lab):
    done = lab.try_run("up", "--hosts", "1")
    assert done.returncode == 1
    assert "has 2 hosts" in done.stderr


def test_another_release_is_refused(lab):
    done = lab.try_run("up", "--release", "12")
    assert done.returncode == 1
    assert "have Debian 13" in done.stderr


def test_plain_ansible_finds_the_hosts(lab):
    listed = lab.shell("ansible kvm_hosts --list-hosts; ansible memservers -m ping --one-line")
    assert re.findall(r"^ +(host-\d)$", listed, re.M) == ["host-1", "host-2"]
    assert re.findall(r"^(host-\d) \| SUCCESS", listed, re.M) in (["host-1", "host-2"], ["host-2", "host-1"])


def test_ansible_sees_the_host_s_memory_and_not_the_machine_s(lab):
    facts = lab.shell("ansible host-1 -m setup -a filter=ansible_memtotal_mb")
    assert '"ansible_memtotal_mb": 512' in facts


def test_devices_have_modes_of_their_own(lab):
    assert lab.ssh("host-1", "stat -c '%t:%T' /dev/userfaultfd") != ""
    lab.ssh("host-1", "chmod 0666 /dev/userfaultfd")
    assert lab.ssh("host-1", "stat -c %a /dev/userfaultfd") == "666"
    assert lab.ssh("host-2", "stat -c %a /dev/userfaultfd") == "600"


def test_storage_is_shared(lab):
    lab.ssh("host-1", "echo from host-1 > /srv/smemv/note")
    assert lab.ssh("host-2", "cat /srv/smemv/note") == "from host-1"
    lab.ssh("host-2", "rm /srv/smemv/note")


def test_packages_and_sources_can_be_fetched(lab):
    lab.ssh("host-1", "apt-get update")
    lab.ssh("host-1", "DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends hello")
    assert "Hello" in lab.ssh("host-1", "hello")
    assert re.search(r"qemu_10\.0\.\S+\.dsc", lab.ssh("host-1", "apt-get source --print-uris qemu"))


def test_systemd_in_the_host_limits_its_services(lab):
    done = lab.try_ssh("host-1", "systemd-run --quiet --wait --property=MemoryMax=32M "
                                 "python3 -c 'bytearray(64 << 20)'")
    assert done.returncode != 0
    assert lab.ssh("host-1", "systemd-run --quiet --wait --property=MemoryMax=128M "
                             "python3 -c 'bytearray(64 << 20)' && echo fits") == "fits"


def test_another_checkout_leaves_the_lab_alone(lab, tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(CHECKOUT, checkout, ignore=shutil.ignore_patterns(".git", "build"))
    for command in (["up"], ["down"]):
        done = subprocess.run([checkout / "lab/lab", *command, "--name", lab.name],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"was made with {CHECKOUT}/lab/lab" in done.stderr
