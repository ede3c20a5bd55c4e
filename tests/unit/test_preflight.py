# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import re

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.preflight import check_request, plan
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import GIB, MIB

KVM_HOSTS = ["host-1", "host-2", "host-3", "host-4"]
REQUEST = {"vm": "big", "destination_host": "host-2", "sub_hosts": ["host-3", "host-4"], "main_memory": "1GiB"}
CONFIG = {"memory": "2GiB", "vcpus": 2, "accel": "tcg"}
WHOLE = {"state": "whole", "total": 2 * GIB, "limit": 0, "sub_hosts": [], "blocked": []}
SPLIT = {
    "state": "split",
    "total": 2 * GIB,
    "limit": GIB,
    "sub_hosts": [
        {"name": name, "host": f"198.18.0.{name[-1]}", "port": 4770, "share": 544 * MIB}
        for name in REQUEST["sub_hosts"]
    ],
    "blocked": [],
}
RECORDED = {
    "destination_host": "host-2",
    "destination_address": "198.18.0.2",
    "destination_port": 4780,
    "main_memory": GIB,
    "sub_hosts": [
        {"name": "host-3", "address": "198.18.0.3", "port": 4770, "share": 544 * MIB},
        {"name": "host-4", "address": "198.18.0.4", "port": 4770, "share": 544 * MIB},
    ],
}


def machine(**settings):
    """A VM as a host describes it."""
    return {
        "name": "big",
        "state": "running",
        "reason": None,
        "adopted": True,
        "config": CONFIG,
        "qemu": {"version": "10.0.13", "package": "", "smemv": True},
        "memory": WHOLE,
        "migration": {},
        "relocation": None,
        **settings,
    }


def host(number, *vms):
    """A host as host_info describes it, with 4 GiB of memory and a memserver of 2."""
    return {
        "address": f"198.18.0.{number}",
        "memserver_port": 4770,
        "kernel": "6.12",
        "userfaultfd": {"available": True, "move": True, "features": 0x1FFFF, "reason": None},
        "memory": {"total": 4 * GIB, "available": 3 * GIB},
        "kvm": False,
        "qemu": {"path": "/q", "present": True, "version": "10.0.13", "smemv": True, "reason": None},
        "memserver": {"running": True, "reason": None, "capacity": 2 * GIB, "reserved": 0, "used": 0, "sessions": []},
        "vms": list(vms),
    }


def cluster(**vms):
    """Four hosts; ``host_1=machine()`` puts a VM there."""
    return {name: host(number, *([vms[f"host_{number}"]] if f"host_{number}" in vms else []))
            for number, name in enumerate(KVM_HOSTS, 1)}  # fmt: skip


def refusal(request, hosts):
    with pytest.raises(Refused) as refused:
        plan(request, hosts)
    return refused.value.reasons


def test_a_vm_that_runs_elsewhere_is_to_be_moved():
    answer = plan(REQUEST, cluster(host_1=machine()))
    assert answer["phase"] == "start"
    assert (answer["source_host"], answer["destination_host"]) == ("host-1", "host-2")
    assert answer["main_memory"] == GIB
    assert answer["sub_hosts"] == RECORDED["sub_hosts"]
    assert answer["config"] == CONFIG


def test_shares_follow_the_room_of_each_sub_host():
    hosts = cluster(host_1=machine())
    hosts["host-3"]["memserver"].update(reserved=GIB)
    hosts["host-4"]["memory"]["available"] = 512 * MIB
    shares = [sub_host["share"] for sub_host in plan(REQUEST, hosts)["sub_hosts"]]
    assert sum(shares) == 1088 * MIB
    assert shares[1] / shares[0] == pytest.approx(512 / 1024, rel=0.001)


def test_memory_reserved_but_not_used_yet_is_not_free():
    hosts = cluster(host_1=machine())
    hosts["host-3"]["memserver"].update(reserved=GIB, used=0)
    hosts["host-3"]["memory"]["available"] = GIB
    assert refusal(REQUEST, hosts)[0][0] == "host-3"


def test_a_sub_host_may_be_the_source():
    answer = plan(dict(REQUEST, sub_hosts=["host-1", "host-3"]), cluster(host_1=machine()))
    assert [sub_host["name"] for sub_host in answer["sub_hosts"]] == ["host-1", "host-3"]


def test_hosts_that_take_no_part_may_be_away():
    hosts = cluster(host_1=machine())
    hosts["host-9"] = {"unreachable": "no route to host"}
    assert plan(REQUEST, hosts)["phase"] == "start"


@pytest.mark.parametrize("state", ["incoming", "stopped"])
def test_what_is_left_of_an_expected_vm_is_no_hindrance(state):
    left = machine(state=state, adopted=False, memory=None)
    assert plan(REQUEST, cluster(host_1=machine(), host_2=left))["phase"] == "start"


@pytest.mark.parametrize("run_state", ["running", "finish-migrate", "paused"])
def test_a_migration_under_way_is_attached_to(run_state):
    moving = machine(state=run_state, migration={"status": "active"}, relocation=RECORDED)
    answer = plan(REQUEST, cluster(host_1=moving, host_2=machine(state="incoming", adopted=False)))
    assert answer["phase"] == "attach"
    assert answer["source_host"] == "host-1"
    assert answer["sub_hosts"] == RECORDED["sub_hosts"]
    assert (answer["destination_address"], answer["destination_port"]) == ("198.18.0.2", 4780)


@pytest.mark.parametrize(
    "other",
    [{"destination_host": "host-4", "sub_hosts": ["host-3"]}, {"main_memory": "512MiB"}, {"sub_hosts": ["host-3"]}],
)
def test_another_migration_under_way_is_not(other):
    moving = machine(migration={"status": "active"}, relocation=RECORDED)
    (reason,) = refusal({**REQUEST, **other}, cluster(host_1=moving))
    assert reason == (
        "host-1",
        "VM big is on its way to host-2 already, with 1GiB there and the rest on host-3, host-4",
    )


def test_a_migration_that_failed_before_is_begun_anew():
    failed = machine(migration={"status": "failed"}, relocation=RECORDED)
    assert plan(REQUEST, cluster(host_1=failed))["phase"] == "start"


@pytest.mark.parametrize(
    ("here", "elsewhere", "phase"),
    [
        ({}, {}, "done"),
        ({"adopted": False}, {}, "finish"),
        ({}, {"host_1": {"state": "moved"}}, "finish"),
        ({"adopted": False}, {"host_1": {"state": "moved"}}, "finish"),
        ({}, {"host_1": {"state": "stopped"}}, "finish"),
    ],
)
def test_a_vm_that_has_moved(here, elsewhere, phase):
    vms = {name: machine(**settings) for name, settings in elsewhere.items()}
    answer = plan(REQUEST, cluster(host_2=machine(memory=SPLIT, **here), **vms))
    assert answer["phase"] == phase
    assert answer["leftovers"] == ["host-1"] * len(elsewhere)


def test_the_plan_does_not_change_what_the_hosts_said():
    hosts = cluster(host_1=machine())
    before = copy.deepcopy(hosts)
    plan(REQUEST, hosts)
    assert hosts == before


BAD_REQUESTS = [
    ({"main_memory": "1G"}, "request: main_memory '1G' is not a size"),
    ({"main_memory": "5000B"}, "request: main_memory 5000B is not a multiple of the page"),
    ({"destination_host": "host-9"}, "host-9: no host of that name is in the inventory's group kvm_hosts"),
    ({"sub_hosts": ["host-3", "host-8"]}, "host-8: no host of that name is in the inventory's group memservers"),
    ({"sub_hosts": []}, "request: sub_hosts names no host"),
    ({"sub_hosts": ["host-2", "host-3"]}, "host-2: is the destination and cannot be a sub-host too"),
    ({"sub_hosts": ["host-3", "host-3"]}, "host-3: is listed twice in sub_hosts"),
]


@pytest.mark.parametrize(("change", "message"), BAD_REQUESTS)
def test_a_request_that_cannot_be(change, message):
    with pytest.raises(Refused, match=f"^{re.escape(message)}"):
        check_request({**REQUEST, **change}, KVM_HOSTS, KVM_HOSTS)


def test_every_reason_is_given_at_once():
    request = {"vm": "big", "destination_host": "host-9", "sub_hosts": ["host-9"], "main_memory": "much"}
    with pytest.raises(Refused) as refused:
        check_request(request, KVM_HOSTS, KVM_HOSTS)
    assert [who for who, _reason in refused.value.reasons] == ["request", "host-9", "host-9", "host-9"]


def test_a_good_request_is_not_refused():
    check_request(REQUEST, KVM_HOSTS, KVM_HOSTS)


def with_change(path, value, hosts):
    """``hosts`` with the value at a path of keys, such as ``host-2 kernel``, replaced."""
    *way, last = path.split()
    place = hosts
    for key in way:
        place = place[key]
    place[last] = value
    return hosts


NO_MOVE = {"available": True, "move": False, "features": 0, "reason": "the kernel 6.1 has no UFFDIO_MOVE"}
NO_QEMU = {"path": "/q", "present": False, "version": None, "smemv": False, "reason": "there is no QEMU at /q"}
STOCK = {"qemu": {"version": "10.0.2", "package": "", "smemv": False}, "memory": None}
BLOCKED = dict(WHOLE, blocked=["VFIO device 0000:01:00.0 locks guest memory", "vhost-user net0 shares it"])

REFUSALS = [
    ("host-2 userfaultfd", NO_MOVE, {}, [("host-2", "the kernel 6.1 has no UFFDIO_MOVE")]),
    ("host-2 qemu", NO_QEMU, {}, [("host-2", "there is no QEMU at /q")]),
    ("host-2 memory available", 1088 * MIB - 1, {},
     [("host-2", "has 1087MiB of memory free, and main_memory 1GiB and QEMU itself want 1088MiB")]),
    ("host-2", {"unreachable": "timed out"}, {}, [("host-2", "cannot be reached: timed out")]),
    ("host-3", {"unreachable": "timed out"}, {}, [("host-3", "cannot be reached: timed out")]),
    ("host-3 memserver", {"running": False, "reason": "none answers"}, {},
     [("host-3", "its memserver is not running: none answers")]),
    ("host-4 memserver reserved", 2 * GIB, {},
     [("host-4", "its memserver has no room left: 2048MiB of 2048MiB are reserved, and the host has 3072MiB of"
                 " memory free")]),
    ("host-2 vms", [machine(state="stopped")], {}, [("host-2", "has a VM big of its own, stopped")]),
    ("host-1 vms", [machine(**STOCK)], {},
     [("host-1", "VM big was started by a QEMU without split migration (10.0.2): start it by the one that the role qemu"
                 " installs")]),
    ("host-1 vms", [machine(memory=BLOCKED)], {},
     [("host-1", "VM big cannot be split: VFIO device 0000:01:00.0 locks guest memory"),
      ("host-1", "VM big cannot be split: vhost-user net0 shares it")]),
    ("host-1 vms", [machine(config=dict(CONFIG, accel="kvm"))], {},
     [("host-2", "has no /dev/kvm, which VM big runs with")]),
    ("host-1 vms", [machine(memory=SPLIT)], {}, [("host-1", "VM big is split already")]),
    ("host-1 vms", [machine(state="stopped")], {}, [("host-1", "VM big is stopped here, and runs on no host")]),
    ("host-1 vms", [machine(state="moved")], {}, [("host-1", "VM big is moved here, and runs on no host")]),
    ("host-1 vms", [], {}, [("request", "no host has a VM big (asked: host-1, host-2, host-3, host-4)")]),
    ("host-1", {"unreachable": "timed out"}, {},
     [("request", "no host has a VM big (asked: host-2, host-3, host-4)"), ("host-1", "cannot be reached: timed out")]),
    ("host-3 vms", [machine()], {},
     [(host, "VM big runs here, and on another host too") for host in ("host-1", "host-3")]),
    ("host-1 kernel", "6.12", {"main_memory": "60MiB"},
     [("host-2", "main_memory 60MiB is less than the 64MiB that VM big can work with")]),
    ("host-1 kernel", "6.12", {"main_memory": "2GiB"},
     [("host-2", "main_memory 2GiB holds all of VM big (2GiB): there is nothing to split")]),
    ("host-1 kernel", "6.12", {"destination_host": "host-1"},
     [("host-1", "VM big runs here already: the destination is the source")]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "change", "reasons"), REFUSALS)
def test_what_cannot_be_is_refused_by_host_and_reason(path, value, change, reasons):
    hosts = with_change(path, value, cluster(host_1=machine()))
    assert refusal({**REQUEST, **change}, hosts) == reasons


def test_too_little_room_is_told_of_each_sub_host():
    hosts = cluster(host_1=machine())
    for name in REQUEST["sub_hosts"]:
        hosts[name]["memserver"]["capacity"] = 500 * MIB
    assert [who for who, _reason in refusal(REQUEST, hosts)] == ["host-3", "host-4"]


def test_a_vm_split_otherwise_on_the_destination():
    (reason,) = refusal(dict(REQUEST, main_memory="512MiB"), cluster(host_2=machine(memory=SPLIT)))
    assert reason == (
        "host-2",
        "VM big runs here already, with 1GiB on the main host and the rest on host-3, host-4",
    )
