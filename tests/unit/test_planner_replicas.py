# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for VMs whose pages are kept twice."""

from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils import layout
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.preflight import plan
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import GIB, MIB, PAGE
from ansible_collections.smemv.kvm.plugins.module_utils.twin_sub_hosts import TwinSubHosts
from clusters import cluster, put
from hypothesis import given
from hypothesis import strategies as st

REQUEST = {
    "vm": "big", "destination_host": "host-2", "sub_hosts": None, "main_memory": "1GiB", "replicas": 2,
}  # fmt: skip
# What the sub-hosts of a VM of 2 GiB hold of it once, with 1 GiB on the main host.
NEED = 2 * GIB - 960 * MIB

rooms = st.dictionaries(st.sampled_from("abcdef"), st.integers(min_value=0, max_value=6), min_size=1, max_size=6)
domains = st.fixed_dictionaries({name: st.sampled_from("xyz") for name in "abcdef"})


def whole(count=5, **domain):
    """Hosts of which host-1 runs VM big; domains by the hosts' names."""
    hosts = cluster(count)
    put(hosts, "big", "host-1")
    hosts["host-1"]["memserver"] = {"running": False, "reason": "none answers"}
    for name, of_host in domain.items():
        hosts[name.replace("_", "-")]["failure_domain"] = of_host
    return hosts


def split(failed=False):
    """VM big on host-1 with two copies on host-3 and host-4; and with host-5 lost."""
    hosts = cluster(6)
    machine = put(hosts, "big", "host-1", GIB, ["host-3", "host-4"])
    machine["memory"]["replicas"] = 2
    for sub_host in machine["memory"]["sub_hosts"]:
        sub_host["share"] = NEED
    if failed:
        lost = dict(machine["memory"]["sub_hosts"][0], name="host-5", failed=True, leaving=True, connected=False)
        machine["memory"]["sub_hosts"].append(lost)
        hosts["host-5"] = {"unreachable": "timed out"}
    return hosts


def shares(answer):
    return {host["name"]: host["share"] for host in answer["sub_hosts"]}


def refusal(hosts, **request):
    with pytest.raises(Refused) as refused:
        plan({**REQUEST, **request}, hosts)
    return refused.value.reasons




@given(rooms, domains)
def test_room_for_two_copies(room, domain):
    sizes = {name: pages * PAGE for name, pages in room.items()}
    most = layout.room_for(2, sizes, domain)
    shares = layout.divide(2 * most, layout.usable(most, 2, sizes, domain))
    assert all(share <= sizes[name] for name, share in shares.items())
    assert layout.are_apart(most, shares, domain)
    # What the largest domain has more than all others, or half of all, is the end of it.
    sums = {}
    for name, pages in room.items():
        sums[domain[name]] = sums.get(domain[name], 0) + pages
    more = most // PAGE + 1
    assert sum(min(pages, more) for pages in sums.values()) < 2 * more


@given(rooms, domains, st.integers(min_value=0, max_value=8))
def test_sub_hosts_hold_what_they_are_chosen_for(room, domain, pages):
    sizes = {name: size * PAGE for name, size in room.items()}
    some = TwinSubHosts(sizes, [], dict.fromkeys(room, 0), domain)
    need = min(pages * PAGE, some.total(None))
    chosen = some.choose(need, None)
    assert layout.room_for(2, {name: sizes[name] for name in chosen}, domain) >= need
    assert len(chosen) == some.count(need, None)


def test_two_copies_take_twice_the_room():
    answer = plan(REQUEST, whole())
    assert answer["replicas"] == 2
    assert sum(shares(answer).values()) == 2 * NEED
    assert max(shares(answer).values()) <= NEED
    once = plan(dict(REQUEST, replicas=None), whole())
    assert (once["replicas"], sum(shares(once).values())) == (1, NEED)


def test_no_two_copies_in_one_failure_domain():
    hosts = whole(host_3="rack-1", host_4="rack-1", host_5="rack-2")
    answer = plan(REQUEST, hosts)
    assert set(shares(answer)) == {"host-3", "host-5"}
    assert {host["name"]: host["failure_domain"] for host in answer["sub_hosts"]} == {
        "host-3": "rack-1",
        "host-5": "rack-2",
    }
    answer = plan(dict(REQUEST, sub_hosts=["host-3", "host-4", "host-5"]), hosts)
    assert shares(answer) == {"host-3": NEED // 2, "host-4": NEED // 2, "host-5": NEED}


def test_one_failure_domain_is_not_enough():
    hosts = whole(host_3="rack", host_4="rack", host_5="rack")
    assert any("twice, in different failure domains" in reason for _host, reason in refusal(hosts))
    reasons = refusal(hosts, sub_hosts=["host-3", "host-4"])
    assert reasons and all("failure domain" in reason for _host, reason in reasons)


def test_a_split_vm_keeps_its_number():
    assert refusal(split(), replicas=1) == [
        ("host-1", "VM big is split with replicas 2: make it whole, and split it anew")
    ]
    answer = plan(dict(REQUEST, replicas=None), split())
    assert (answer["operation"], answer["replicas"]) == ("remigrate", 2)
    assert shares(answer) == {"host-3": NEED, "host-4": NEED}


def test_a_sub_host_that_was_lost_is_not_asked_for():
    answer = plan(dict(REQUEST, replicas=None), split(failed=True))
    assert (answer["phase"], shares(answer)) == ("start", {"host-3": NEED, "host-4": NEED})
