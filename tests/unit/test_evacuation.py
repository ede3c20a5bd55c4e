# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils import placement, preflight, requirements
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.evacuation import evacuate
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import GIB, MIB
from ansible_collections.smemv.kvm.plugins.module_utils.whereabouts import machines
from clusters import NAMES, cluster, make_host, put
from hypothesis import given
from hypothesis import strategies as st


def empty(hosts, host, vms_too=True):
    """The requests, without the hosts that take part."""
    requests = evacuate(host, hosts, NAMES, NAMES, vms_too)
    return [{key: value for key, value in request.items() if key != "hosts"} for request in requests]


def refusal(*args):
    with pytest.raises(Refused) as refused:
        empty(*args)
    return refused.value.reasons


def test_a_host_that_holds_nothing():
    hosts = cluster()
    put(hosts, "big", "host-1", GIB, ["host-2", "host-4"])
    assert empty(hosts, "host-3") == []


def test_a_main_host_keeps_the_vms_sub_hosts():
    hosts = cluster()
    put(hosts, "big", "host-3", GIB, ["host-2", "host-4"])
    put(hosts, "busy", "host-1")
    assert empty(hosts, "host-3") == [
        {"vm": "big", "destination_host": "host-5", "main_memory": "1GiB", "sub_hosts": ["host-2", "host-4"]}
    ]


def test_the_hosts_that_take_part_are_named():
    hosts = cluster()
    put(hosts, "big", "host-3", GIB, ["host-2", "host-4"])
    put(hosts, "busy", "host-1")
    (request,) = evacuate("host-3", hosts, NAMES, NAMES, True)
    assert request["hosts"] == ["host-2", "host-3", "host-4", "host-5"]


def test_a_sub_host_gives_its_pages_to_the_others():
    hosts = cluster()
    put(hosts, "big", "host-1", GIB, ["host-2", "host-3"])
    assert empty(hosts, "host-3", vms_too=False) == [
        {"vm": "big", "destination_host": "host-1", "main_memory": "1GiB", "sub_hosts": ["host-2"]}
    ]


def test_a_further_sub_host_joins_where_the_others_have_no_room():
    hosts = cluster(capacity=GIB)
    put(hosts, "big", "host-1", GIB, ["host-2", "host-3"])
    hosts["host-5"]["memory"]["available"] -= MIB
    assert empty(hosts, "host-3") == [
        {"vm": "big", "destination_host": "host-1", "main_memory": "1GiB", "sub_hosts": ["host-2", "host-4"]}
    ]


def test_a_whole_vm_goes_where_it_fits_whole():
    hosts = cluster()
    put(hosts, "big", "host-3")
    hosts["host-1"]["memory"]["available"] = GIB
    assert empty(hosts, "host-3") == [
        {"vm": "big", "destination_host": "host-2", "main_memory": "all", "sub_hosts": []}
    ]


def test_a_whole_vm_that_fits_nowhere_is_split():
    hosts = cluster(4, memory=2 * GIB, capacity=GIB)
    hosts["host-3"] = make_host(3)
    put(hosts, "big", "host-3", total=3 * GIB)
    (request,) = empty(hosts, "host-3")
    assert request["destination_host"] == "host-1"
    assert request["main_memory"] == "1792MiB"
    assert request["sub_hosts"] == ["host-2", "host-4"]


def test_a_sub_host_becomes_the_main_host_only_where_no_other_can():
    hosts = cluster(4)
    put(hosts, "big", "host-3", GIB, ["host-1", "host-2"])
    assert empty(hosts, "host-3")[0]["destination_host"] == "host-4"
    hosts["host-4"]["maintenance"] = "new disks"
    (request,) = empty(hosts, "host-3")
    assert request["destination_host"] == "host-1"
    assert request["sub_hosts"] == ["host-2"]


def test_two_vms_are_not_planned_into_the_same_room():
    hosts = cluster(3)
    put(hosts, "one", "host-3", total=GIB)
    put(hosts, "two", "host-3", total=GIB)
    for name in ("host-1", "host-2"):
        hosts[name]["memory"]["available"] = GIB + requirements.overhead({"memory": {"total": GIB}})
    assert [request["destination_host"] for request in empty(hosts, "host-3")] == ["host-1", "host-2"]


@pytest.mark.parametrize(("huge_pages", "destination"), [(True, "host-3"), (False, "host-4")])
def test_what_goes_into_huge_pages_leaves_a_host_what_it_has_free(huge_pages, destination):
    hosts = cluster(4)
    put(hosts, "one", "host-2", GIB, ["host-1"])
    put(hosts, "two", "host-1", total=GIB)
    hosts["host-2"]["memory"]["available"] = 0
    hosts["host-3"]["memory"]["available"] = 2 * GIB + 512 * MIB
    hosts["host-3"]["memserver"]["huge_pages"] = huge_pages
    hosts["host-4"]["memory"]["available"] = GIB + 512 * MIB
    one, two = empty(hosts, "host-1")
    assert (one["vm"], one["sub_hosts"]) == ("one", ["host-3"])
    assert (two["vm"], two["destination_host"]) == ("two", destination)


def test_what_can_go_nowhere_is_told_by_host():
    hosts = cluster(2, memory=2 * GIB, capacity=GIB)
    put(hosts, "big", "host-1", total=2 * GIB)
    reasons = refusal(hosts, "host-1")
    assert reasons[0] == ("host-1", "holds VM big or pages of it, which cannot go elsewhere")
    assert ("host-2", "has 2048MiB of memory free, and all of VM big (2GiB) and QEMU itself want 2120MiB") in reasons


def test_pages_of_a_vm_that_nobody_runs():
    hosts = cluster()
    put(hosts, "big", "host-1", GIB, ["host-3"])
    hosts["host-1"] = {"unreachable": "timed out"}
    reasons = refusal(hosts, "host-3")
    assert ("host-1", "cannot be reached: timed out") in reasons
    assert reasons[0][0] == "host-3"


def test_a_host_that_nobody_knows():
    assert refusal(cluster(), "host-9") == [("host-9", "no host of that name is in the inventory")]


def test_a_host_that_does_not_answer():
    hosts = cluster()
    hosts["host-3"] = {"unreachable": "timed out"}
    assert refusal(hosts, "host-3") == [("host-3", "cannot be reached: timed out")]


def recorded(destination, *sub_hosts):
    return {
        "destination_host": destination,
        "destination_address": "198.18.0.9",
        "destination_port": 4780,
        "operation": "remigrate",
        "main_memory": GIB,
        "sub_hosts": [{"name": name, "share": GIB, "address": "a", "port": 1} for name in sub_hosts],
    }


def test_what_was_begun_goes_on_to_where_it_was_going():
    hosts = cluster()
    moving = {"migration": {"status": "active"}, "relocation": recorded("host-6", "host-5")}
    put(hosts, "big", "host-3", GIB, ["host-2"], **moving)
    assert empty(hosts, "host-3") == [
        {"vm": "big", "destination_host": "host-6", "main_memory": "1GiB", "sub_hosts": ["host-5"]}
    ]


@pytest.mark.parametrize("where", [("host-3", "host-5"), ("host-6", "host-3")])
def test_what_is_on_its_way_to_the_host_has_to_arrive_first(where):
    hosts = cluster()
    moving = {"migration": {"status": "active"}, "relocation": recorded(*where)}
    put(hosts, "big", "host-1", GIB, ["host-2", "host-3"], **moving)
    assert ("host-1", "VM big is on its way there: wait until it has come, or cancel that") in refusal(hosts, "host-3")


def test_what_a_vm_left_there_is_tidied_up():
    hosts = cluster()
    put(hosts, "big", "host-1", GIB, ["host-2"])
    hosts["host-3"]["vms"].append(dict(hosts["host-1"]["vms"][0], state="moved", memory=None))
    (request,) = empty(hosts, "host-3")
    assert preflight.plan(request, hosts)["leftovers"] == ["host-3"]


def test_a_host_that_is_being_emptied_already_is_waited_for():
    hosts = cluster()
    machine = put(hosts, "big", "host-1", GIB, ["host-2", "host-3"])
    machine["memory"]["sub_hosts"][1]["leaving"] = True
    machine["memory"]["rebalancing"] = True
    hosts["host-3"]["maintenance"] = "new disks"
    (request,) = empty(hosts, "host-3")
    assert preflight.plan(request, hosts)["phase"] == "rebalance"


sizes = st.integers(min_value=1, max_value=24).map(lambda count: count * 256 * MIB)


@st.composite
def clusters(draw):
    """Hosts of several sizes, some in maintenance or away, with VMs whole and split."""
    hosts = {name: make_host(number, memory=draw(sizes) + 8 * GIB, capacity=draw(sizes) + 4 * GIB)
             for number, name in enumerate(NAMES, 1)}  # fmt: skip
    for number in range(draw(st.integers(min_value=0, max_value=5))):
        main, *others = draw(st.permutations(NAMES))
        sub_hosts = others[: draw(st.integers(min_value=0, max_value=3))]
        put(hosts, f"vm-{number}", main, limit=GIB if sub_hosts else None, sub_hosts=sub_hosts)
    for name in draw(st.lists(st.sampled_from(NAMES[1:]), max_size=2)):
        hosts[name]["maintenance"] = "new disks"
    return hosts


@given(clusters(), st.booleans())
def test_a_host_is_emptied_or_it_is_said_why_not(hosts, vms_too):
    before = copy.deepcopy(hosts)
    try:
        requests = empty(hosts, "host-1", vms_too)
    except Refused as refused:
        assert refused.reasons
        return
    finally:
        assert hosts == before
    involved = {session["name"] for session in hosts["host-1"]["memserver"]["sessions"]}
    if vms_too:
        involved |= {machine["name"] for machine in hosts["host-1"]["vms"]}
    assert {request["vm"] for request in requests} == involved
    taken = dict.fromkeys(NAMES, 0)
    for request in requests:
        plan = preflight.plan(request, hosts)
        machine = machines(request["vm"], hosts)[plan["source_host"]]
        used = {request["destination_host"], *request["sub_hosts"]}
        moves = plan["source_host"] != plan["destination_host"]
        assert "host-1" not in request["sub_hosts"]
        assert moves == (plan["source_host"] == "host-1" and vms_too)
        assert not any(hosts[name]["maintenance"] for name in used if moves or name != plan["source_host"])
        # A VM is never given less on its main host than it had, unless no host can take it whole.
        if placement.is_split(machine["memory"]):
            assert request["main_memory"] == "1GiB"
        for name, share in placement.wanted(None, plan["sub_hosts"])["sub_hosts"].items():
            taken[name] += share - placement.current(machine["memory"])["sub_hosts"].get(name, 0)
        if moves:
            taken[plan["destination_host"]] += requirements.resident_size(machine, plan["main_memory"])
    for name, size in taken.items():
        assert size <= hosts[name]["memory"]["available"]
