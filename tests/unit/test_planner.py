# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.layout import MOST_SUB_HOSTS
from ansible_collections.smemv.kvm.plugins.module_utils.preflight import plan
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import GIB, MIB
from clusters import cluster, make_host, put

ROOT = Path(__file__).resolve().parents[2]

# Of a VM with 2 GiB.
OVERHEAD = 72 * MIB
# What a split VM is given at most on its main host: 15/16 of 2 GiB.
MOST = 1920 * MIB


def small(count=4, memory=GIB, capacity=GIB):
    """Hosts of which none can take VM big whole, but host-1, which runs it."""
    hosts = cluster(count, memory=memory, capacity=capacity)
    hosts["host-1"]["memory"] = {"total": 4 * GIB, "available": 4 * GIB}
    put(hosts, "big", "host-1")
    return hosts


def ask(hosts, **request):
    """The plan for VM big, with everything open that is not given."""
    return plan({"vm": "big", "destination_host": None, "sub_hosts": None, "main_memory": None, **request}, hosts)


def refusal(hosts, **request):
    with pytest.raises(Refused) as refused:
        ask(hosts, **request)
    return refused.value.reasons


def names(answer):
    return [host["name"] for host in answer["sub_hosts"]]


def choice(answer):
    return answer["destination_host"], answer["main_memory"], names(answer)


def test_all_is_chosen():
    answer = ask(small())
    assert (answer["phase"], answer["operation"]) == ("start", "split_migrate")
    # 1 GiB less an eighth; what that leaves is more than one of the others has room for.
    assert choice(answer) == ("host-2", 896 * MIB, ["host-3", "host-4"])
    assert sum(host["share"] for host in answer["sub_hosts"]) == 2048 * MIB - 840 * MIB


def test_the_host_with_most_memory_is_the_main_host():
    hosts = small()
    hosts["host-4"]["memory"]["available"] = 1536 * MIB
    assert choice(ask(hosts)) == ("host-4", 1344 * MIB, ["host-2", "host-3"])


@pytest.mark.parametrize(
    ("request_", "chosen"),
    [
        ({"destination_host": "host-3"}, ("host-3", 896 * MIB, ["host-2", "host-4"])),
        ({"main_memory": "512MiB"}, ("host-2", 512 * MIB, ["host-3", "host-4"])),
        ({"sub_hosts": ["host-2", "host-3"]}, ("host-4", 896 * MIB, ["host-2", "host-3"])),
        ({"sub_hosts": ["host-3", "host-2", "host-1"]}, ("host-4", 896 * MIB, ["host-3", "host-2", "host-1"])),
        ({"destination_host": "host-4", "main_memory": "256MiB"}, ("host-4", 256 * MIB, ["host-2", "host-3"])),
        ({"destination_host": "host-2", "sub_hosts": ["host-4", "host-3"]},
         ("host-2", 896 * MIB, ["host-4", "host-3"])),
    ],
)  # fmt: skip
def test_what_is_given_is_honoured(request_, chosen):
    assert choice(ask(small(), **request_)) == chosen


def test_a_host_keeps_an_eighth_only_where_the_sub_hosts_have_the_room():
    hosts = small(3, capacity=600 * MIB)
    # 1200 MiB there at most, so no less than 848 MiB here, or a sixteenth more.
    hosts["host-2"]["memory"]["available"] = 1000 * MIB
    hosts["host-3"]["memory"]["available"] = 900 * MIB
    answer = ask(hosts)
    assert choice(answer) == ("host-2", 905 * MIB, ["host-1", "host-3"])
    assert "main_memory is 905MiB: less leaves more to the sub-hosts than they have room for" in answer["reasons"]
    hosts["host-2"]["memory"]["available"] = hosts["host-3"]["memory"]["available"] = 904 * MIB + OVERHEAD
    assert [host for host, _reason in refusal(hosts)] == ["host-1", "host-2", "host-3", "host-1", "host-2", "host-3"]


def test_a_vm_is_split_even_where_a_host_could_take_all_of_it():
    hosts = cluster(3)
    put(hosts, "big", "host-1")
    answer = ask(hosts)
    assert choice(answer) == ("host-2", MOST, ["host-3"])
    assert answer["reasons"] == [
        "host-2 is the main host: it comes before host-3 by name",
        "main_memory is 1920MiB: a split VM has no more than 15/16 there",
        "host-2 has room for all of VM big: consolidate_vm.yml would bring it there whole",
        "the rest is for host-3: no fewer have the room",
        "host-1 cannot be a main host: runs VM big: a whole VM is split only by a move to another host",
    ]


def test_the_host_that_a_vm_leaves_holds_pages_only_where_nobody_else_can():
    hosts = small(5, capacity=620 * MIB)
    hosts["host-1"]["memserver"]["capacity"] = 2 * GIB
    # One there would do.
    assert choice(ask(hosts)) == ("host-2", 896 * MIB, ["host-3", "host-4"])
    for name in ("host-3", "host-4", "host-5"):
        hosts[name]["memserver"]["running"] = False
    assert choice(ask(hosts)) == ("host-2", 896 * MIB, ["host-1"])


def test_the_fewest_sub_hosts_have_room_for_all_of_the_vm_or_where_that_is_nowhere_for_the_rest():
    hosts = small(5, capacity=700 * MIB)
    # 1208 MiB are the rest, and with 2048 the VM can move on.
    assert choice(ask(hosts)) == ("host-2", 896 * MIB, ["host-3", "host-4", "host-5"])
    hosts["host-5"]["memserver"]["capacity"] = 600 * MIB
    assert choice(ask(hosts)) == ("host-5", 896 * MIB, ["host-2", "host-3", "host-4"])
    hosts["host-4"]["memserver"]["capacity"] = 600 * MIB
    assert choice(ask(hosts)) == ("host-2", 896 * MIB, ["host-3", "host-4"])


def test_huge_pages_of_a_memserver_are_none_of_what_its_host_has_free():
    hosts = small(3)
    hosts["host-1"]["memserver"]["running"] = False
    hosts["host-3"]["memory"]["available"] = 0
    full = "its memserver has no room left: {} of 2048MiB are reserved, and the host has 0KiB of memory free{}"
    hosts["host-3"]["memserver"]["capacity"] = 2 * GIB
    assert ("host-3", full.format("0KiB", "")) in refusal(hosts)
    hosts["host-3"]["memserver"]["huge_pages"] = True
    assert choice(ask(hosts)) == ("host-2", 896 * MIB, ["host-3"])
    hosts["host-3"]["memserver"]["reserved"] = 2 * GIB
    assert ("host-3", full.format("2048MiB", " beside its huge pages")) in refusal(hosts)


def test_the_least_a_vm_can_work_with():
    hosts = small(3)
    hosts["host-3"]["memory"]["available"] = 0
    hosts["host-1"]["memserver"]["capacity"] = 2 * GIB
    hosts["host-1"]["memory"]["available"] = 2 * GIB
    hosts["host-2"]["memory"]["available"] = 64 * MIB + OVERHEAD
    answer = ask(hosts)
    assert choice(answer) == ("host-2", 64 * MIB, ["host-1"])
    hosts["host-2"]["memory"]["available"] -= 1
    want = "of memory free, and the 64MiB that VM big can work with and QEMU itself want 136MiB"
    assert refusal(hosts) == [
        ("host-1", "runs VM big: a whole VM is split only by a move to another host"),
        ("host-2", f"has 135MiB {want}"),
        ("host-3", f"has 0KiB {want}"),
    ]


def test_tags_of_sealed_pages_want_memory_too():
    hosts = small(3)
    hosts["host-2"]["memory"]["available"] = GIB + OVERHEAD
    request = {"destination_host": "host-2", "sub_hosts": ["host-3", "host-1"], "main_memory": "1GiB"}
    assert ask(hosts, **request)["phase"] == "start"
    assert refusal(hosts, **request, seal=True) == [
        ("host-2", "has 1096MiB of memory free, and main_memory 1GiB and QEMU itself want 1108MiB")
    ]


def spoil(path, value):
    """A change to what a host says."""

    def change(info):
        *way, last = path.split()
        for key in way:
            info = info[key]
        info[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda info: (info.clear(), info.update(unreachable="timed out")), "cannot be reached: timed out"),
        (spoil("maintenance", "new disks"), "is in maintenance: new disks"),
        (spoil("userfaultfd", {"move": False, "reason": "no UFFDIO_MOVE"}), "no UFFDIO_MOVE"),
        (spoil("qemu", {"smemv": False, "reason": "there is no QEMU"}), "there is no QEMU"),
        (spoil("memserver", {"running": False, "reason": "away"}), "its memserver is not running: away"),
        (spoil("memserver reserved", GIB), "its memserver has no room left"),
    ],
)
def test_a_host_that_cannot_take_part_is_left_out_and_it_is_said_why(change, reason):
    hosts = small()
    change(hosts["host-2"])
    answer = ask(hosts, main_memory="512MiB")
    if "memserver" in reason:
        assert choice(answer) == ("host-2", 512 * MIB, ["host-3", "host-4"])
        # Where the other could be the main host too, it is no sub-host all the same.
        answer = ask(hosts, main_memory="512MiB", destination_host="host-3")
        assert choice(answer) == ("host-3", 512 * MIB, ["host-1", "host-4"])
    else:
        assert answer["destination_host"] == "host-3"
    (said,) = (text for text in answer["reasons"] if text.startswith("host-2 "))
    assert reason in said


def test_a_host_that_is_out_for_both_is_named_once():
    hosts = small()
    hosts["host-3"]["maintenance"] = "new disks"
    assert "host-3 cannot be a sub-host or main host: is in maintenance: new disks" in ask(hosts)["reasons"]


def test_a_refusal_says_of_every_host_what_is_short():
    hosts = small(capacity=200 * MIB)
    hosts["host-4"] = {"unreachable": "timed out"}
    can = "can have no more than 952MiB of VM big, which leaves 1155MiB to sub-hosts: those have room for 400MiB"
    assert refusal(hosts) == [
        ("host-4", "cannot be reached: timed out"),
        ("host-1", "runs VM big: a whole VM is split only by a move to another host"),
        ("host-2", can),
        ("host-3", can),
        ("host-1", "its memserver has room for 200MiB"),
        ("host-2", "its memserver has room for 200MiB"),
        ("host-3", "its memserver has room for 200MiB"),
    ]


def test_what_is_asked_for_and_cannot_be_is_refused_not_replaced():
    hosts = small()
    hosts["host-3"]["maintenance"] = "new disks"
    assert refusal(hosts, destination_host="host-3") == [("host-3", "is in maintenance: new disks")]
    assert refusal(hosts, sub_hosts=["host-2", "host-3"]) == [("host-3", "is in maintenance: new disks")]
    assert ("host-2", "main_memory 32MiB is less than the 64MiB that VM big can work with") in refusal(
        hosts, main_memory="32MiB"
    )
    assert refusal(hosts, destination_host="host-1") == [
        ("host-1", "runs VM big: a whole VM is split only by a move to another host")
    ]


def with_links(hosts, **speeds):
    for name, speed in speeds.items():
        hosts[name.replace("_", "-")]["link"] = {"interface": "eth0", "speed": speed}
    return hosts


def test_faster_links_decide_where_memory_does_not():
    hosts = with_links(small(6), host_3=25000, host_4=10000, host_5=10000, host_6=10000)
    answer = ask(hosts)
    assert choice(answer) == ("host-3", 896 * MIB, ["host-4", "host-5"])
    assert "host-3 is the main host: its link is faster than that of host-4" in answer["reasons"]
    # Less than a sixteenth of the VM is no reason to prefer a slower one, more is.
    hosts["host-2"]["memory"]["available"] += 32 * MIB
    assert ask(hosts)["destination_host"] == "host-3"
    hosts["host-2"]["memory"]["available"] += 200 * MIB
    answer = ask(hosts)
    assert answer["destination_host"] == "host-2"
    assert "host-2 is the main host: more of its memory can be there than on host-3" in answer["reasons"]


def test_no_sub_host_more_for_a_faster_link():
    hosts = with_links(small(5, capacity=600 * MIB), host_2=10000, host_3=10000, host_4=10000)
    hosts["host-5"]["memserver"]["capacity"] = 700 * MIB
    assert choice(ask(hosts)) == ("host-2", 896 * MIB, ["host-5", "host-3"])


def with_domains(hosts, **domains):
    for name, domain in domains.items():
        hosts[name.replace("_", "-")]["failure_domain"] = domain
    return hosts


def test_sub_hosts_are_spread_over_failure_domains_where_that_costs_nothing():
    hosts = with_domains(small(5), host_3="rack-1", host_4="rack-1", host_5="rack-2")
    assert choice(ask(hosts)) == ("host-2", 896 * MIB, ["host-3", "host-5"])
    # The other rack's host has too little room to be one of two.
    hosts["host-5"]["memserver"]["capacity"] = 100 * MIB
    assert choice(ask(hosts)) == ("host-2", 896 * MIB, ["host-3", "host-4"])


# A VM that is split already.


def split(count=6, **settings):
    """VM big on host-1, split over host-2 and host-3."""
    hosts = cluster(count, **settings)
    put(hosts, "big", "host-1", GIB, ["host-2", "host-3"])
    return hosts


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"destination_host": "host-1"},
        {"main_memory": "1GiB"},
        {"sub_hosts": ["host-3", "host-2"]},
        {"destination_host": "host-1", "sub_hosts": ["host-2", "host-3"]},
    ],
)
def test_a_vm_that_is_split_as_asked_for_is_left_as_it_is(request_):
    hosts = split()
    answer = ask(hosts, **request_)
    assert (answer["phase"], choice(answer)) == ("done", ("host-1", GIB, ["host-2", "host-3"]))
    assert answer["reasons"] == ["VM big is placed so already"]
    # Not even where today it would be placed otherwise.
    hosts["host-3"]["maintenance"] = "new disks"
    hosts["host-1"]["memory"]["available"] = 0
    assert ask(hosts, **request_)["phase"] == "done"


@pytest.mark.parametrize("open_", ["destination_host", "main_memory", "sub_hosts"])
def test_what_was_chosen_is_found_done_by_the_same_request(open_):
    hosts = small()
    request = {"destination_host": "host-2", "main_memory": "512MiB", "sub_hosts": ["host-3", "host-4"], open_: None}
    for wanted in (request, {}):
        chosen = ask(hosts, **wanted)
        after = cluster(4)
        put(after, "big", chosen["destination_host"], chosen["main_memory"], names(chosen))
        found = ask(after, **wanted)
        assert (found["phase"], choice(found)) == ("done", (chosen["destination_host"], chosen["main_memory"],
                                                             names(chosen)))  # fmt: skip


@pytest.mark.parametrize("request_", [{}, {"destination_host": "host-1"}])
def test_memory_that_is_on_its_way_is_waited_for(request_):
    hosts = split()
    hosts["host-1"]["vms"][0]["memory"]["rebalancing"] = True
    assert ask(hosts, **request_)["phase"] == "rebalance"


@pytest.mark.parametrize("request_", [{}, {"main_memory": "1GiB"}])
def test_a_vm_that_came_is_only_tidied_up(request_):
    hosts = split()
    machine = hosts["host-1"]["vms"][0]
    hosts["host-5"]["vms"].append(dict(machine, state="moved"))
    machine["adopted"] = False
    answer = ask(hosts, **request_)
    assert (answer["phase"], answer["leftovers"]) == ("finish", ["host-5"])
    assert choice(answer) == ("host-1", GIB, ["host-2", "host-3"])


RECORDED = {
    "destination_host": "host-5",
    "destination_address": "198.18.0.5",
    "destination_port": 4780,
    "operation": "split_migrate",
    "main_memory": GIB,
    "sub_hosts": [{"name": "host-6", "address": "198.18.0.6", "port": 4770, "share": 1088 * MIB}],
}


def moving(recorded):
    hosts = cluster()
    put(hosts, "big", "host-1", migration={"status": "active"}, relocation=recorded)
    return hosts


@pytest.mark.parametrize(
    "request_", [{}, {"destination_host": "host-5"}, {"main_memory": "1GiB"}, {"sub_hosts": ["host-6"]}]
)
def test_what_is_under_way_is_attached_to_and_nothing_chosen_anew(request_):
    answer = ask(moving(RECORDED), **request_)
    assert (answer["phase"], answer["operation"], answer["destination_port"]) == ("attach", "split_migrate", 4780)
    assert choice(answer) == ("host-5", GIB, ["host-6"])


@pytest.mark.parametrize(
    "request_", [{"destination_host": "host-4"}, {"main_memory": "512MiB"}, {"sub_hosts": ["host-5"]}]
)
def test_what_is_under_way_otherwise_is_not(request_):
    assert refusal(moving(RECORDED), **request_) == [
        ("host-1", "VM big is on its way to host-5 already, with 1GiB there and the rest on host-6")
    ]


def test_a_consolidation_under_way_is_no_split():
    whole = dict(RECORDED, operation="consolidate", main_memory=None, sub_hosts=[])
    assert "with all of its memory" in refusal(moving(whole))[0][1]
    assert ask(moving(whole), main_memory="all")["phase"] == "attach"


def test_a_host_that_expects_the_vm_already_is_chosen_again():
    hosts = small()
    hosts["host-4"]["vms"].append(dict(hosts["host-1"]["vms"][0], state="incoming", adopted=False, memory=None))
    answer = ask(hosts)
    assert (answer["destination_host"], answer["leftovers"]) == ("host-4", [])
    assert "host-4 is the main host: it is expected there already" in answer["reasons"]
    # Where it cannot be, it is tidied up afterwards.
    hosts["host-4"]["maintenance"] = "new disks"
    answer = ask(hosts)
    assert (answer["destination_host"], answer["leftovers"]) == ("host-2", ["host-4"])


def test_a_split_vm_that_moves_keeps_its_limit_and_its_sub_hosts():
    answer = ask(split(), destination_host="host-5")
    assert (answer["phase"], answer["operation"]) == ("start", "remigrate")
    assert choice(answer) == ("host-5", GIB, ["host-2", "host-3"])
    assert answer["reasons"] == ["main_memory is 1GiB: as before", "pages of it are on host-2, host-3 already"]


def test_a_split_vm_gets_less_memory_on_a_smaller_host():
    hosts = split()
    hosts["host-5"]["memory"]["available"] = 512 * MIB
    assert choice(ask(hosts, destination_host="host-5")) == ("host-5", 440 * MIB, ["host-2", "host-3"])


def test_a_split_vm_gets_more_memory_where_its_sub_hosts_have_not_the_room():
    hosts = split()
    for name in ("host-1", "host-4", "host-6"):
        hosts[name]["memserver"]["running"] = False
    hosts["host-3"]["maintenance"] = "new disks"
    # Just what is wanted of it while the VM moves.
    memserver, share = hosts["host-2"]["memserver"], hosts["host-1"]["vms"][0]["memory"]["sub_hosts"][0]["share"]
    memserver["capacity"] = memserver["reserved"] + 480 * MIB
    assert share + 480 * MIB < 1088 * MIB
    assert choice(ask(hosts, destination_host="host-5")) == ("host-5", MOST, ["host-2"])


def test_the_memory_of_a_split_vm_is_placed_anew_where_it_runs():
    answer = ask(split(), main_memory="512MiB")
    assert (answer["phase"], choice(answer)) == ("rebalance", ("host-1", 512 * MIB, ["host-2", "host-3"]))
    answer = ask(split(), sub_hosts=["host-3", "host-4"])
    assert (answer["phase"], choice(answer)) == ("rebalance", ("host-1", GIB, ["host-3", "host-4"]))
    # Its main host is to hold pages: another has to be the main host.
    answer = ask(split(), sub_hosts=["host-1", "host-3"])
    assert (answer["phase"], choice(answer)) == ("start", ("host-4", GIB, ["host-3", "host-1"]))


def test_a_sub_host_becomes_the_main_host_only_where_no_other_can():
    hosts = split(4)
    hosts["host-1"]["maintenance"] = hosts["host-4"]["maintenance"] = "new disks"
    assert ask(hosts, destination_host="host-2")["destination_host"] == "host-2"
    hosts["host-4"]["maintenance"] = None
    assert ask(hosts, main_memory="1536MiB")["destination_host"] == "host-4"


def test_a_sub_host_that_becomes_the_main_host_wants_room_for_both_while_the_vm_moves():
    hosts = split(3)
    # All of the VM less the two shares, in two parts.
    extra = 2 * GIB - sum(host["share"] for host in hosts["host-1"]["vms"][0]["memory"]["sub_hosts"])
    hosts["host-2"]["memory"]["available"] = GIB + OVERHEAD + extra // 2
    request = {"destination_host": "host-2", "sub_hosts": ["host-3"], "main_memory": "1GiB"}
    assert ask(hosts, **request)["phase"] == "start"
    hosts["host-2"]["memory"]["available"] -= MIB
    assert refusal(hosts, **request) == [
        (
            "host-2",
            "has 1574MiB of memory free, and main_memory 1GiB and QEMU itself, and the pages that it holds until it"
            " runs the VM, want 1575MiB",
        )
    ]
    assert choice(ask(hosts, destination_host="host-2")) == ("host-2", 1023 * MIB, ["host-3"])


def test_a_vm_is_brought_onto_one_host():
    hosts = split()
    answer = ask(hosts, main_memory="all")
    assert (answer["phase"], answer["operation"], choice(answer)) == ("rebalance", "rebalance", ("host-1", None, []))
    assert "host-1 is the main host: it runs there already" in answer["reasons"]
    hosts["host-1"]["memory"]["available"] = 0
    answer = ask(hosts, main_memory="all")
    assert (answer["phase"], answer["operation"], choice(answer)) == ("start", "consolidate", ("host-4", None, []))
    assert ask(cluster_with_whole_vm(), main_memory="all")["phase"] == "done"


def cluster_with_whole_vm():
    hosts = cluster(3)
    put(hosts, "big", "host-2")
    return hosts


def test_a_vm_that_is_being_brought_onto_one_host_has_to_arrive_first():
    hosts = split()
    memory = hosts["host-1"]["vms"][0]["memory"]
    memory["rebalancing"] = True
    for sub_host in memory["sub_hosts"]:
        sub_host["leaving"] = True
    assert "still being rebalanced" in refusal(hosts)[0][1]
    assert ask(hosts, main_memory="all")["phase"] == "rebalance"


def test_a_sub_host_for_which_no_page_would_be_left_is_not_kept():
    hosts = split()
    # A page is all that host-3 has room for, and what is wanted of both is far less than host-2 has.
    sub_hosts = hosts["host-1"]["vms"][0]["memory"]["sub_hosts"]
    sub_hosts[1].update(share=4096, remote=0)
    hosts["host-3"]["memserver"]["reserved"] = hosts["host-3"]["memserver"]["capacity"]
    hosts["host-2"]["memserver"]["capacity"] = 64 * GIB
    hosts["host-2"]["memory"]["available"] = 64 * GIB
    sub_hosts[0].update(share=GIB)
    answer = ask(hosts, main_memory="1536MiB")
    assert names(answer) == ["host-2"]


def test_a_small_sub_host_that_is_asked_for_is_given_a_page_by_less_on_the_main_host():
    hosts = cluster(4, memory=16 * GIB)
    put(hosts, "big", "host-1", total=8 * GIB)
    hosts["host-3"]["memory"]["available"] = hosts["host-3"]["memserver"]["capacity"] = 1024 * GIB
    hosts["host-4"]["memserver"]["capacity"] = MIB
    # A page in 4 GiB, and 7.9 GiB are what sub-hosts can hold at most.
    answer = ask(hosts, destination_host="host-2", sub_hosts=["host-3", "host-4"])
    assert choice(answer) == ("host-2", 64 * MIB, ["host-3", "host-4"])
    assert "main_memory is 64MiB: with more a sub-host would hold nothing of it" in answer["reasons"]
    # Where that is less than is asked for, it is said which.
    request = {"sub_hosts": ["host-3", "host-4"], "main_memory": "6GiB"}
    assert refusal(hosts, **request) == [("host-4", "would hold nothing of VM big: leave it out")]


def many(count):
    """A cluster whose memservers have each room for 64 MiB, and a VM that wants so many of them."""
    hosts = {f"host-{number}": make_host(number, 128 * MIB, 64 * MIB) for number in range(1, count + 20)}
    hosts["host-1"]["memory"]["available"] = hosts["host-2"]["memory"]["available"] = 32 * GIB
    put(hosts, "big", "host-1", total=count * 64 * MIB + 15 * GIB)
    return hosts


def test_a_vm_has_no_more_sub_hosts_than_its_page_map_can_name():
    page_map = ROOT / "native/qemu/overlay/migration/smemv/page-map.h"
    assert f"#define SMEMV_MAX_PEERS {MOST_SUB_HOSTS}\n" in page_map.read_text(encoding="utf-8")

    wanted = {"destination_host": "host-2", "main_memory": "16GiB"}
    assert len(names(ask(many(MOST_SUB_HOSTS), **wanted))) == MOST_SUB_HOSTS
    hosts = many(MOST_SUB_HOSTS + 1)
    ((host, reason), *_) = refusal(hosts, **wanted)
    assert (host, reason.rpartition(": ")[2]) == ("host-2", "those have room for 15360MiB")
    named = [name for name in hosts if name not in ("host-1", "host-2")][: MOST_SUB_HOSTS + 1]
    assert refusal(hosts, **wanted, sub_hosts=named) == [
        (named[-1], "would be one of 241 sub-hosts of VM big, which can have 240")
    ]
