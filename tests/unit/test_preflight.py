# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.preflight import plan
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import GIB, MIB

KVM_HOSTS = ["host-1", "host-2", "host-3", "host-4"]
REQUEST = {"vm": "big", "destination_host": "host-2", "sub_hosts": ["host-3", "host-4"], "main_memory": "1GiB"}
CONFIG = {"memory": "2GiB", "vcpus": 2, "accel": "tcg"}
WHOLE = {"state": "whole", "total": 2 * GIB, "limit": 0, "sub_hosts": [], "blocked": []}
SPLIT = {
    "state": "split",
    "total": 2 * GIB,
    "limit": GIB,
    "resident": 900 * MIB,
    "rebalancing": False,
    "rebalance_remaining": 0,
    "sub_hosts": [],
    "blocked": [],
}
RECORDED = {
    "destination_host": "host-2",
    "destination_address": "198.18.0.2",
    "destination_port": 4780,
    "main_memory": GIB,
    "sub_hosts": [
        {"name": "host-3", "address": "198.18.0.3", "port": 4770, "failure_domain": "host-3", "share": 544 * MIB},
        {"name": "host-4", "address": "198.18.0.4", "port": 4770, "failure_domain": "host-4", "share": 544 * MIB},
    ],
}


def split(*names, leaving=(), **settings):
    """The memory of a split VM with these sub-hosts."""
    sub_hosts = [
        {"name": name, "host": f"198.18.0.{name[-1]}", "port": 4770, "share": 1088 * MIB // len(names),
         "remote": 500 * MIB, "leaving": False, "connected": True}
        for name in names
    ]  # fmt: skip
    sub_hosts += [dict(sub_hosts[0], name=name, share=0, leaving=True) for name in leaving]
    return {**SPLIT, "sub_hosts": sub_hosts, **settings}


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
        "maintenance": None,
        "memserver": {"running": True, "reason": None, "capacity": 2 * GIB, "reserved": 0, "used": 0,
                      "huge_pages": False, "sessions": []},
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
    assert answer["operation"] == "split_migrate"


def test_shares_follow_the_room_of_each_sub_host():
    hosts = cluster(host_1=machine())
    hosts["host-3"]["memserver"].update(reserved=GIB)
    hosts["host-4"]["memory"]["available"] = 512 * MIB
    shares = [sub_host["share"] for sub_host in plan(REQUEST, hosts)["sub_hosts"]]
    assert sum(shares) == 1088 * MIB
    assert shares[1] / shares[0] == pytest.approx(512 / 1024, rel=0.001)


def test_what_a_memserver_has_reserved_is_taken_from_the_hosts_memory_once():
    hosts = cluster(host_1=machine())
    request = dict(REQUEST, sub_hosts=["host-3"])
    # The rest of the host's memory, the capacity and what is wanted are all 1088 MiB.
    hosts["host-3"]["memserver"].update(capacity=2112 * MIB, reserved=GIB, used=0)
    hosts["host-3"]["memory"]["available"] = 1088 * MIB
    assert plan(request, hosts)["phase"] == "start"
    hosts["host-3"]["memory"]["available"] -= MIB
    assert refusal(request, hosts)[0][0] == "host-3"


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
    answer = plan(REQUEST, cluster(host_2=machine(memory=split("host-3", "host-4"), **here), **vms))
    assert answer["phase"] == phase
    assert answer["leftovers"] == ["host-1"] * len(elsewhere)


def test_the_plan_does_not_change_what_the_hosts_said():
    hosts = cluster(host_1=machine())
    before = copy.deepcopy(hosts)
    plan(REQUEST, hosts)
    assert hosts == before


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
    ("host-2 memory available", 1096 * MIB - 1, {},
     [("host-2", "has 1095MiB of memory free, and main_memory 1GiB and QEMU itself want 1096MiB")]),
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
    ("host-1 vms", [machine(memory=split("host-3", state="fenced"))], {}, [("host-1", "VM big is fenced")]),
    ("host-1 vms", [machine(state="stopped")], {},
     [("host-1", "VM big is stopped here, and runs on no host: the journal of smemv-vm-big.service there says why")]),
    ("host-1 vms", [machine(state="moved")], {},
     [("host-1", "VM big is moved here, and runs on no host: the journal of smemv-vm-big.service there says why")]),
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


ALL = {"sub_hosts": [], "main_memory": "all"}


def shares(answer):
    return {sub_host["name"]: sub_host["share"] for sub_host in answer["sub_hosts"]}


def test_a_split_vm_moves_on():
    hosts = cluster(host_1=machine(memory=split("host-3")))
    hosts["host-3"]["memserver"].update(reserved=1088 * MIB)
    answer = plan(REQUEST, hosts)
    assert (answer["phase"], answer["operation"]) == ("start", "remigrate")
    assert shares(answer) == {"host-3": 544 * MIB, "host-4": 544 * MIB}


def test_sub_hosts_that_stay_keep_their_shares():
    hosts = cluster(host_1=machine(memory=split("host-3", "host-4")))
    hosts["host-3"]["memserver"]["reserved"] = GIB
    assert shares(plan(REQUEST, hosts)) == {"host-3": 544 * MIB, "host-4": 544 * MIB}


def test_a_sub_host_may_become_the_main_host_and_the_main_host_a_sub_host():
    hosts = cluster(host_1=machine(memory=split("host-2", "host-3")))
    answer = plan(dict(REQUEST, sub_hosts=["host-1", "host-3"]), hosts)
    assert (answer["source_host"], answer["destination_host"]) == ("host-1", "host-2")
    assert shares(answer) == {"host-1": 544 * MIB, "host-3": 544 * MIB}


@pytest.mark.parametrize("memory", [WHOLE, split("host-3", "host-4")])
def test_a_vm_comes_to_one_host(memory):
    answer = plan({**REQUEST, **ALL}, cluster(host_1=machine(memory=memory)))
    assert (answer["phase"], answer["operation"]) == ("start", "consolidate")
    assert (answer["main_memory"], answer["sub_hosts"]) == (None, [])


def test_a_whole_vm_that_cannot_be_split_may_still_move_whole():
    blocked = dict(WHOLE, blocked=["vhost-user net0 shares guest memory"])
    assert plan({**REQUEST, **ALL}, cluster(host_1=machine(memory=blocked)))["phase"] == "start"


@pytest.mark.parametrize(
    ("request_", "now", "phase"),
    [
        (ALL, split("host-3", "host-4"), "rebalance"),
        (ALL, split(), "rebalance"),
        (ALL, split(limit=0), "done"),
        (ALL, WHOLE, "done"),
        ({}, split("host-3"), "rebalance"),
        ({}, split("host-3", "host-4", "host-1"), "rebalance"),
        ({"main_memory": "512MiB"}, split("host-3", "host-4"), "rebalance"),
        ({}, split("host-3", "host-4", leaving=["host-1"]), "done"),
        ({}, split("host-3", "host-4", leaving=["host-1"], rebalancing=True), "rebalance"),
        ({"sub_hosts": ["host-4"]}, split("host-4", leaving=["host-3"], rebalancing=True), "rebalance"),
    ],
)
def test_a_vm_that_runs_there_has_only_its_memory_placed(request_, now, phase):
    answer = plan({**REQUEST, **request_}, cluster(host_2=machine(memory=now)))
    assert (answer["phase"], answer["operation"]) == (phase, "rebalance")
    assert {host["name"] for host in answer["sub_hosts"]} == set({**REQUEST, **request_}["sub_hosts"])


def test_what_is_pulled_in_already_is_waited_for():
    pulling = split("host-3", limit=2 * GIB, rebalancing=True)
    pulling["sub_hosts"][0]["leaving"] = True
    assert plan({**REQUEST, **ALL}, cluster(host_2=machine(memory=pulling)))["phase"] == "rebalance"


def test_a_vm_that_came_and_is_to_be_placed_otherwise_is_tidied_up_too():
    hosts = cluster(host_1=machine(state="moved"), host_2=machine(memory=split("host-3"), adopted=False))
    hosts["host-3"]["memserver"].update(reserved=1088 * MIB)
    answer = plan(REQUEST, hosts)
    assert (answer["phase"], answer["leftovers"]) == ("finish", ["host-1"])
    assert shares(answer) == {"host-3": 544 * MIB, "host-4": 544 * MIB}


def test_an_operation_under_way_is_attached_to_as_what_it_is():
    recorded = dict(RECORDED, operation="consolidate", main_memory=None, sub_hosts=[])
    moving = machine(memory=split("host-3"), migration={"status": "active"}, relocation=recorded)
    answer = plan({**REQUEST, **ALL}, cluster(host_1=moving))
    assert (answer["phase"], answer["operation"]) == ("attach", "consolidate")
    (reason,) = refusal(REQUEST, cluster(host_1=moving))
    assert reason == ("host-1", "VM big is on its way to host-2 already, with all of its memory")


def test_a_migration_of_somebody_elses_is_named():
    (reason,) = refusal(REQUEST, cluster(host_1=machine(migration={"status": "active"})))
    assert reason == ("host-1", "VM big is being migrated by other means")


def test_a_vm_that_leaves_a_host_is_not_rebalanced_there():
    moving = machine(memory=split("host-3"), migration={"status": "active"},
                     relocation=dict(RECORDED, destination_host="host-4"))  # fmt: skip
    (reason,) = refusal(REQUEST, cluster(host_2=moving))
    assert reason[0] == "host-2"
    assert reason[1].startswith("VM big is on its way to host-4 already")


REBALANCING = split("host-3", "host-4", rebalancing=True, rebalance_remaining=5 * MIB)
IN_MAINTENANCE = [("host-3", "is in maintenance: new disks"), ("host-4", "is in maintenance: new disks")]
LOST = split("host-3")
LOST["sub_hosts"][0]["connected"] = False


def test_memory_that_is_on_its_way_has_to_arrive_first():
    (reason,) = refusal(REQUEST, cluster(host_1=machine(memory=REBALANCING)))
    assert reason == (
        "host-1",
        "the memory of VM big is still being rebalanced, 5MiB are left: wait until that is done",
    )


@pytest.mark.parametrize(("host_", "change"), [("host-2", {}), ("host-4", {})])
def test_a_host_in_maintenance_takes_nothing(host_, change):
    hosts = with_change(f"{host_} maintenance", "new disks", cluster(host_1=machine()))
    assert refusal({**REQUEST, **change}, hosts) == [(host_, "is in maintenance: new disks")]


def test_a_host_in_maintenance_gives_its_pages_away():
    hosts = with_change("host-3 maintenance", "new disks", cluster(host_2=machine(memory=split("host-3"))))
    assert shares(plan(dict(REQUEST, sub_hosts=["host-4"]), hosts)) == {"host-4": 1088 * MIB}


def test_a_main_host_in_maintenance_takes_no_more_but_may_get_rid_of_a_sub_host():
    hosts = with_change("host-2 maintenance", "new disks", cluster(host_2=machine(memory=split("host-3"))))
    assert plan(dict(REQUEST, sub_hosts=["host-4"]), hosts)["phase"] == "rebalance"
    assert refusal({**REQUEST, **ALL}, hosts) == [("host-2", "is in maintenance: new disks")]


def test_a_main_host_without_room_for_all_of_it():
    hosts = cluster(host_2=machine(memory=split("host-3", "host-4")))
    hosts["host-2"]["memory"]["available"] = GIB
    assert refusal({**REQUEST, **ALL}, hosts) == [
        ("host-2", "has 1024MiB of memory free, and VM big would want 1148MiB more there")
    ]


def test_a_destination_without_room_for_all_of_it():
    hosts = with_change("host-2 memory available", GIB, cluster(host_1=machine(memory=split("host-3", "host-4"))))
    assert refusal({**REQUEST, **ALL}, hosts) == [
        ("host-2", "has 1024MiB of memory free, and all of VM big (2GiB) and QEMU itself want 2120MiB")
    ]


@pytest.mark.parametrize("where", ["host_1", "host_2"])
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("host-3", {"unreachable": "timed out"}, "cannot be reached: timed out"),
        ("host-3 memserver running", False, "its memserver is not running: None"),
        ("host-1 kernel", "6.12", "its memserver does not answer VM big, which has pages there"),
    ],
)
def test_a_sub_host_that_is_to_be_left_has_to_be_there(where, path, value, message):
    memory = LOST if path == "host-1 kernel" else split("host-3")
    hosts = with_change(path, value, cluster(**{where: machine(memory=memory)}))
    assert refusal(dict(REQUEST, sub_hosts=["host-4"]), hosts) == [("host-3", message)]
    assert refusal({**REQUEST, **ALL}, hosts) == [("host-3", message)]


def test_while_a_split_vm_moves_its_sub_hosts_want_room_for_all_of_it():
    hosts = cluster(host_1=machine(memory=split("host-3", "host-4")))
    # 2 GiB less the two shares.
    for name, free in (("host-3", 480 * MIB), ("host-4", 479 * MIB)):
        hosts[name]["memserver"].update(reserved=2 * GIB - free, used=2 * GIB - free)
    together = (
        "more, and while VM big moves 960MiB more are wanted of its present sub-hosts together, in about equal parts;"
        " they have 959MiB"
    )
    assert refusal(REQUEST, hosts) == [
        ("host-3", f"its memserver has room for 480MiB {together}"),
        ("host-4", f"its memserver has room for 479MiB {together}"),
    ]
    hosts["host-4"]["memserver"]["reserved"] -= MIB
    assert plan(REQUEST, hosts)["phase"] == "start"
    # In place nothing of that is wanted.
    hosts["host-4"]["memserver"]["reserved"] += 300 * MIB
    stays = dict(hosts, **{"host-1": host(1), "host-2": host(2, machine(memory=split("host-3", "host-4")))})
    assert plan(dict(REQUEST, main_memory="1088MiB"), stays)["phase"] == "rebalance"


def test_too_little_room_for_a_re_migration_is_told_of_each_sub_host():
    hosts = cluster(host_1=machine(memory=split("host-3")))
    hosts["host-4"]["memserver"].update(capacity=100 * MIB)
    (reason,) = refusal(dict(REQUEST, sub_hosts=["host-4"]), hosts)
    assert reason[0] == "host-4"
    assert "has room for 100MiB, and 1088MiB are wanted" in reason[1]
