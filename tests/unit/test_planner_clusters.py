# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner on random clusters: what it plans fits, and what it refuses cannot be."""

from __future__ import annotations

import itertools
import random
import statistics
import time

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.layout import MOST_SUB_HOSTS
from ansible_collections.smemv.kvm.plugins.module_utils.preflight import plan
from ansible_collections.smemv.kvm.plugins.module_utils.request import check_request
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import GIB, MIB, PAGE, format_size
from clusters import make_host, put
from hypothesis import assume, given, settings
from hypothesis import strategies as st

LEAST = 64 * MIB
OPEN = {"vm": "big", "destination_host": None, "sub_hosts": None, "main_memory": None}


def trouble(info, kind):
    """A host that cannot take part, or only in part."""
    if kind == "away":
        info.clear()
        info["unreachable"] = "timed out"
    elif kind == "maintenance":
        info["maintenance"] = "new disks"
    elif kind == "old":
        info["userfaultfd"] = {"move": False, "reason": "no UFFDIO_MOVE"}
    elif kind == "stock":
        info["qemu"] = {"smemv": False, "reason": "no QEMU"}
    elif kind == "no memserver":
        info["memserver"] = {"running": False, "reason": "none answers"}


KINDS = ["away", "maintenance", "old", "stock", "no memserver"]


def needed(total, limit):
    """Bytes that sub-hosts hold together, as how-it-works.md has it."""
    return -(-(total - limit // 16 * 15) // PAGE) * PAGE


def room(info):
    """Bytes that a host can hold for a VM that has no pages there."""
    memserver = info["memserver"]
    size = min(memserver["capacity"] - memserver["reserved"], info["memory"]["available"])
    return size // PAGE * PAGE if size >= MIB else 0


def holds(info):
    return "unreachable" not in info and info["maintenance"] is None and info["memserver"]["running"]


def runs(info):
    return "unreachable" not in info and info["maintenance"] is None and (
        info["userfaultfd"]["move"] and info["qemu"]["smemv"])  # fmt: skip


def overhead(total):
    """What QEMU itself wants for a VM of that size."""
    return 64 * MIB + -(-total // PAGE * 16 // PAGE) * PAGE


def assert_fits(answer, request, hosts, machine):
    """The plan is what was asked for, and every host has what it is to give."""
    main, limit, total = answer["destination_host"], answer["main_memory"], machine["memory"]["total"]
    shares = {host["name"]: host["share"] for host in answer["sub_hosts"]}
    assert request["destination_host"] in (None, main)
    assert request["sub_hosts"] is None or set(request["sub_hosts"]) == set(shares)
    assert request["main_memory"] in (None, "all" if limit is None else format_size(limit))
    if answer["phase"] == "done":
        return
    resident = total if limit is None else limit
    present = {host["name"]: host for host in machine["memory"]["sub_hosts"]}
    if answer["source_host"] == main:
        grown = resident - machine["memory"]["resident"]
        assert grown <= hosts[main]["memory"]["available"] or limit == machine["memory"]["limit"]
    else:
        assert runs(hosts[main])
        assert resident + overhead(total) <= hosts[main]["memory"]["available"]
    assert main not in shares
    if limit is None:
        assert not shares
        return
    assert LEAST <= limit < total
    assert sum(shares.values()) == needed(total, limit)
    for name, share in shares.items():
        assert holds(hosts[name])
        held = max(present[name]["share"], present[name]["remote"]) if name in present else 0
        memserver = hosts[name]["memserver"]
        free = min(memserver["capacity"] - memserver["reserved"], hosts[name]["memory"]["available"])
        assert 0 < share <= max(0, free) + held


# Small clusters, beside a solver that tries everything.

few = st.integers(min_value=0, max_value=16).map(lambda count: count * 128 * MIB)


@st.composite
def questions(draw, whole=False):
    """(hosts, request): two to four hosts, and a VM that is whole or split.

    :param whole: a whole VM whose host has no memserver, to be split over whatever is chosen.
    """
    names = [f"host-{number}" for number in range(1, draw(st.integers(min_value=2, max_value=4)) + 1)]
    hosts = {name: make_host(number, capacity=draw(few)) for number, name in enumerate(names, 1)}
    main, *others = draw(st.permutations(names))
    sub_hosts = others[: 0 if whole else draw(st.integers(min_value=0, max_value=2))]
    limit = draw(st.sampled_from([256 * MIB, 512 * MIB, GIB])) if sub_hosts else None
    total = draw(st.sampled_from([1280 * MIB, 2 * GIB, 3 * GIB]))
    for name in sub_hosts:
        # Where it is split already it found room.
        hosts[name]["memserver"]["capacity"] += total
    put(hosts, "big", main, limit, sub_hosts, total=total)
    for name in names:
        hosts[name]["memory"]["available"] = draw(few)
        hosts[name]["link"] = {"interface": "eth0", "speed": draw(st.sampled_from([None, 1000, 10000]))}
        hosts[name]["failure_domain"] = draw(st.sampled_from([None, "a", "b"]))
    for name in draw(st.lists(st.sampled_from(names), max_size=2, unique=True)):
        if name != main:
            trouble(hosts[name], draw(st.sampled_from(KINDS)))
    if whole:
        trouble(hosts[main], "no memserver")
        return hosts, dict(OPEN, destination_host=draw(st.none() | st.sampled_from(others)))
    request = dict(
        OPEN,
        destination_host=draw(st.none() | st.sampled_from(names)),
        sub_hosts=draw(st.none() | st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)),
        main_memory=draw(st.none() | st.sampled_from(["256MiB", "1GiB", "1536MiB", "all"])),
    )
    try:
        check_request(request, names, names)
    except Refused:
        assume(False)
    return hosts, request


def everything(request, hosts, total):
    """Every whole request that the request allows, with limits in steps and where something runs out."""
    mains = [request["destination_host"]] if request["destination_host"] else list(hosts)
    if request["main_memory"] == "all":
        yield from (dict(request, destination_host=main, sub_hosts=[]) for main in mains)
        return
    limits = {size * 128 * MIB for size in range(1, total // (128 * MIB))} | {LEAST, total - PAGE}
    free = [info["memory"]["available"] for info in hosts.values() if "memory" in info]
    limits |= {size - overhead(total) for size in free} | {size + 256 * MIB for size in free}
    texts = [format_size(limit) for limit in sorted(limits) if LEAST <= limit < total]
    for main in mains:
        others = [name for name in hosts if name != main]
        sets = [names for count in range(1, len(others) + 1) for names in itertools.combinations(others, count)]
        for names in [request["sub_hosts"]] if request["sub_hosts"] else sets:
            if main not in names:
                for text in [request["main_memory"]] if request["main_memory"] else texts:
                    yield dict(request, destination_host=main, sub_hosts=list(names), main_memory=text)


def possible(request, hosts):
    try:
        plan(request, hosts)
    except Refused:
        return False
    return True


def machine_of(hosts):
    (machine,) = (machine for info in hosts.values() for machine in info.get("vms", []))
    return machine


@settings(deadline=None, max_examples=300)
@given(questions())
def test_what_is_planned_fits_and_what_is_refused_cannot_be(question):
    hosts, request = question
    total = machine_of(hosts)["memory"]["total"]
    try:
        answer = plan(request, hosts)
    except Refused as refused:
        assert refused.reasons
        assert not any(possible(whole, hosts) for whole in everything(request, hosts, total))
        return
    assert_fits(answer, request, hosts, machine_of(hosts))
    assert plan(request, hosts) == answer


@settings(deadline=None)
@given(questions(whole=True))
def test_a_whole_vm_gets_the_fewest_sub_hosts_and_as_much_memory_as_another_main_host_would_give(question):
    hosts, request = question
    total = machine_of(hosts)["memory"]["total"]
    try:
        answer = plan(request, hosts)
    except Refused:
        return
    need, count = needed(total, answer["main_memory"]), len(answer["sub_hosts"])
    others = [info for name, info in hosts.items() if name != answer["destination_host"] and holds(info)]
    largest = sorted((room(info) for info in others), reverse=True)
    if sum(largest) >= total:
        # So that it can move on.
        need = total
    assert sum(largest[: count - 1]) < need <= sum(largest[:count])
    for name in hosts if request["destination_host"] is None else ():
        elsewhere = dict(request, destination_host=name)
        if possible(elsewhere, hosts):
            assert plan(elsewhere, hosts)["main_memory"] * 16 // total <= answer["main_memory"] * 16 // total


# Large clusters, beside what can be told by arithmetic of a whole VM for which all is open.


def large(seed, count):
    """A random cluster of hosts of all sizes with a VM that is too large for most."""
    chance = random.Random(seed)
    hosts = {}
    for number in range(count):
        info = hosts[f"host-{number}"] = make_host(number)
        info["memory"]["available"] = chance.randrange(0, 1 << 38) >> chance.randrange(0, 9)
        capacity = chance.randrange(0, 1 << 37) >> chance.randrange(0, 9)
        reserved = chance.randrange(0, capacity + 1) * chance.randrange(0, 2) // PAGE * PAGE
        info["memserver"].update(capacity=capacity, reserved=reserved, used=chance.randrange(0, reserved + 1))
        info["link"] = {"interface": "eth0", "speed": chance.choice([None, 1000, 10000, 25000, 100000])}
        info["failure_domain"] = chance.choice([None, *(f"rack-{rack}" for rack in range(1 + count // 20))])
        if number and chance.random() < 0.2:
            trouble(info, chance.choice(KINDS))
    vms = chance.choice([1 << 30, 1 << 34, 1 << 38]) * chance.randrange(1, 17)
    put(hosts, "big", "host-0", total=vms)
    return hosts


def can_be_split(hosts, source, total):
    """Whether a whole VM can be split over these hosts. The more is on the main host the less is wanted of others."""
    rooms = {name: room(info) for name, info in hosts.items() if holds(info)}
    largest = sorted(rooms, key=rooms.get, reverse=True)[: MOST_SUB_HOSTS + 1]
    for name, info in hosts.items():
        if name != source and runs(info):
            most = min((info["memory"]["available"] - overhead(total)) // PAGE * PAGE, total - PAGE)
            others = [other for other in largest if other != name][:MOST_SUB_HOSTS]
            if most >= LEAST and needed(total, most) <= sum(rooms[other] for other in others):
                return True
    return False


def judge_large(seed, count):
    """(whether a plan was found, seconds that took) for a random cluster; what is found is right."""
    hosts = large(seed, count)
    total = machine_of(hosts)["memory"]["total"]
    # Of the processor: others may want it at the same time.
    began = time.process_time()
    try:
        answer = plan(OPEN, hosts)
    except Refused as refused:
        took = time.process_time() - began
        assert not can_be_split(hosts, "host-0", total), seed
        assert {host for host, _reason in refused.reasons} >= set(hosts), seed
        return False, took
    took = time.process_time() - began
    assert can_be_split(hosts, "host-0", total), seed
    assert_fits(answer, OPEN, hosts, machine_of(hosts))
    return True, took


def test_a_thousand_hosts_within_a_second():
    assert statistics.median(judge_large(seed, 1000)[1] for seed in range(5)) < 1


def test_large_clusters():
    found = [judge_large(seed, random.Random(seed).randrange(2, 100))[0] for seed in range(500)]
    assert True in found
    assert False in found


@pytest.mark.nightly
@pytest.mark.timeout(3600, func_only=True)
def test_ten_thousand_clusters_of_up_to_a_thousand_hosts():
    judged = [judge_large(seed, random.Random(seed).randrange(2, 1001)) for seed in range(10000)]
    took = [seconds for _found, seconds in judged]
    print(f"{sum(found for found, _seconds in judged)} plans; {statistics.median(took) * 1000:.1f} ms each in the"
          f" median, {max(took) * 1000:.1f} ms at most")  # fmt: skip
    assert max(took) < 1
