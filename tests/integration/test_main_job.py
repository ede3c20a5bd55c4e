# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job at its real size: a 2 GiB VM under load goes to a main host that is allowed 1 GiB, and two sub-hosts."""

from __future__ import annotations

import pytest

from tests.integration.cluster import GUEST
from tests.integration.conftest import REQUEST, clear

MEMORY = 2 << 30
LIMIT = 1 << 30
TOLERANCE = 1.02
SECONDS = 60
# A little more than the VM may use there, for the system and QEMU itself.
MAIN_HOST_MEMORY = "1536M"

# Once a second: KiB of guest memory that are resident, in the RAM's mapping and in staging, and KiB that are swapped.
WATCH = f"""
import re, time
pid = open("/run/smemv-watched").read().strip()
for _ in range({SECONDS}):
    counted, rams, kib = False, 0, {{"Rss": 0, "Swap": 0}}
    for line in open(f"/proc/{{pid}}/smaps"):
        mapping = re.match("([0-9a-f]+)-([0-9a-f]+) ", line)
        if mapping:
            start, end = (int(address, 16) for address in mapping.groups())
            is_ram = end - start == {MEMORY}
            rams += is_ram
            counted = is_ram or line.rstrip().endswith("[anon:smemv-staging]")
        elif counted and line.split(":")[0] in kib:
            kib[line.split(":")[0]] += int(line.split()[1])
    assert rams == 1, rams
    print(kib["Rss"], kib["Swap"], flush=True)
    time.sleep(1)
"""


@pytest.fixture
def large_vm(cluster, configuration):
    """A 2 GiB VM on host-1 that fills 1.5 GiB, then reads, checks and rewrites it for ever."""
    guest = "console=ttyS0 quiet no_timer_check smemv.fill=1536M smemv.rate=20000"
    changes = {"memory": "2GiB", "append": guest, "kernel": f"{GUEST}/bzImage"}
    try:
        started = cluster.module("host-1", "vm", **{**configuration, **changes})["host-1"]
        assert started["changed"], started
        cluster.run("memory", "host-2", MAIN_HOST_MEMORY)
        cluster.wait_for_guest("host-1", "big", 240)
        yield
    finally:
        clear(cluster)
        cluster.run("memory", "host-2", "3G")


def killed(cluster, host):
    """How many processes the kernel killed in that host, for want of memory."""
    files = "/sys/fs/cgroup/memory/memory.oom_control /sys/fs/cgroup/memory.events"
    return int(cluster.ssh(host, f"cat {files} 2>/dev/null | sed -n 's/^oom_kill //p'"))


def scraped(cluster, host):
    """What Prometheus reads there of its VMs: values by name and labels."""
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9471/metrics', timeout=20).read().decode())"
    lines = cluster.ssh(host, f'python3 -c "{ask}"').splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line and line[0] != "#")}


def test_large_vm_runs_on_within_its_limit(cluster, large_vm):
    kills = killed(cluster, "host-2")
    done = cluster.play("migrate_large_vm.yml", **{**REQUEST, "main_memory": "1GiB", "relocate_policy": "hot"})
    assert done.code == 0, done.output

    cluster.ssh("host-2", "systemctl show --value --property MainPID smemv-vm-big >/run/smemv-watched")
    seconds = cluster.ssh("host-2", f"python3 - <<'END'\n{WATCH}\nEND").splitlines()
    assert len(seconds) == SECONDS
    resident, swapped = zip(*(map(int, second.split()) for second in seconds))
    assert max(resident) * 1024 <= LIMIT * TOLERANCE
    assert max(swapped) == 0
    assert killed(cluster, "host-2") == kills

    (vm,) = cluster.vms()["host-2"]
    memory = vm["memory"]
    assert memory["pages_in"] > 0
    assert memory["pages_out"] > 0
    by_name = {host["name"]: host for host in memory["sub_hosts"]}
    for host in REQUEST["sub_hosts"]:
        (session,) = cluster.sessions()[host]
        assert session["reserved"] == by_name[host]["share"]
        assert 0 < session["used"] <= session["reserved"]
    remote = sum(host["remote"] for host in memory["sub_hosts"])
    assert memory["resident"] + memory["zero"] + remote == memory["total"] == MEMORY

    metrics = scraped(cluster, "host-2")
    assert metrics['smemv_vm_state{state="split",vm="big"}'] == 1
    assert metrics['smemv_vm_memory_bytes{vm="big"}'] == MEMORY
    assert 0 < metrics['smemv_vm_resident_bytes{vm="big"}'] <= LIMIT * TOLERANCE
    assert metrics['smemv_vm_pages_in_total{vm="big"}'] >= memory["pages_in"]
    assert [metrics[f'smemv_vm_sub_host_connected{{sub_host="{name}",vm="big"}}'] for name in by_name] == [1, 1]

    reports = cluster.console("host-2", "big")
    assert reports[-1][1] > reports[0][1]
    assert {wrong for *_, wrong in reports} == {0}
