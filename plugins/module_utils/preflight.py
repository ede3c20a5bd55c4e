# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges a relocation before anything is touched. Pure: what the hosts said in, a plan or refusals out."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils import placement, planner, requirements, whereabouts
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.request import given
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import format_size


def plan(request, hosts, kvm_hosts=None, memservers=None):
    """What is to be done for a relocation, from what the hosts say.

    What the request leaves open is chosen only where nothing was begun: a VM that is on its way, or is placed already,
    as far as the request says how, is left to that.

    :param request: as in check_request(); and ``replicas``, or None; and seal, whether its pages are to be sealed where
        they are not yet.
    :param hosts: {name: what the module host_info returned there, with ``address``; or {unreachable: why}}.
    :param kvm_hosts, memservers: names of the hosts that may be chosen for each; all where they are not given.
    :returns: {phase, operation, source_host, destination_host, main_memory (bytes, None for all), replicas,
        sub_hosts: [{name, address, port, failure_domain, share (None: what it has)}], config, leftovers: [host],
        reasons: [why what was left open is chosen so]}. ``phase`` is ``start``; ``attach``: that migration is under
        way, to ``destination_address`` and ``destination_port``; ``finish``: the VM has moved, and the hosts are not
        tidied up yet; ``rebalance``: only its memory is not where it is to be; ``done``.
    :raises Refused: with every reason found.
    """
    name, wanted = request["vm"], given(request)
    machines = whereabouts.machines(name, hosts)
    source = whereabouts.source(name, machines, hosts)
    found = _with_replicas(source, machines[source], request.get("replicas"))
    if request.get("seal") and found["memory"]:
        found = dict(found, memory=dict(found["memory"], sealed=True))
    answer = {
        "source_host": source,
        "config": found["config"],
        "replicas": placement.copies(found["memory"]),
        "leftovers": [],
        "reasons": [],
    }

    if whereabouts.is_moving(found):
        recorded = found["relocation"]
        if not (recorded and _asked_for(wanted, recorded)):
            raise Refused([(source, _elsewhere(name, recorded))])
        return dict(recorded, phase="attach", **answer)
    kvm_hosts, memservers = (hosts if names is None else names for names in (kvm_hosts, memservers))
    target, answer["reasons"] = _target(wanted, source, found, hosts, kvm_hosts, memservers)
    destination = target["destination_host"]
    if source == destination:
        answer["leftovers"] = [host for host in machines if host != destination]
        return dict(target, **answer, **_in_place(target, found, hosts, answer["leftovers"]))

    # Where an earlier run had the VM expected, and was cut off.
    answer["leftovers"] = [
        host for host, other in machines.items() if host not in (source, destination) and not other["adopted"]
    ]
    reasons = requirements.of_source(source, found, target["main_memory"]) + requirements.of_rest(source, found)
    reasons += requirements.of_destination(destination, hosts[destination], found, target["main_memory"])
    sub_hosts = _sub_hosts(target, found, hosts, reasons)
    operation = "consolidate"
    if target["main_memory"] is not None:
        operation = "remigrate" if placement.is_split(found["memory"]) else "split_migrate"
    return dict(target, phase="start", operation=operation, **dict(answer, sub_hosts=sub_hosts))


def _with_replicas(source, found, replicas):
    """The VM, with as many copies of its pages as are asked for; one that is split keeps its number."""
    memory = found["memory"]
    if memory is None or replicas is None or replicas == placement.copies(memory):
        return found
    if placement.is_split(memory):
        has = placement.copies(memory)
        raise Refused([(source, f"VM {found['name']} is split with replicas {has}: make it whole, and split it anew")])
    return dict(found, memory=dict(memory, replicas=replicas))


def _target(wanted, source, found, hosts, kvm_hosts, memservers):
    """({destination_host, main_memory, sub_hosts: [{name}]}, why what was left open is so)."""
    here = dict(placement.current(found["memory"]), destination_host=source)
    here["sub_hosts"] = [{"name": name} for name in here["sub_hosts"]]
    if len(wanted) < 3 and _asked_for(wanted, here):
        return here, ["VM {} is placed so already".format(found["name"])]
    chosen, reasons = planner.choose(wanted, source, found, hosts, kvm_hosts, memservers)
    return dict(chosen, sub_hosts=[{"name": name} for name in chosen["sub_hosts"]]), reasons


def _asked_for(wanted, target):
    """Whether a relocation leads to what a request gives. Without main_memory that is a VM that is split."""
    names = sorted(host["name"] for host in target["sub_hosts"])
    if "main_memory" not in wanted and target["main_memory"] is None:
        return False
    return all(sorted(value) == names if key == "sub_hosts" else value == target[key] for key, value in wanted.items())


def _in_place(target, found, hosts, leftovers):
    """Phase, operation and sub-hosts where the VM runs on the destination already."""
    destination, memory = target["destination_host"], found["memory"]
    tidy = not found["adopted"] or leftovers
    names = [host["name"] for host in target["sub_hosts"]]
    if placement.leads_to(placement.current(memory), target["main_memory"], names):
        stay = placement.staying(memory) if memory else []
        sub_hosts = [
            {
                "name": host["name"],
                "address": host["host"],
                "port": host["port"],
                "failure_domain": host.get("failure_domain"),
                "share": None,
            }
            for host in stay
        ]
        rest = "done" if memory is None or placement.is_settled(memory) else "rebalance"
        return {"phase": "finish" if tidy else rest, "operation": "rebalance", "sub_hosts": sub_hosts}
    if memory is None or not placement.is_split(memory):
        raise Refused([(destination, "VM {} runs here already: the destination is the source".format(found["name"]))])
    reasons = requirements.of_source(destination, found, target["main_memory"])
    reasons += requirements.of_main_host(destination, hosts[destination], found, target["main_memory"])
    sub_hosts = _sub_hosts(target, found, hosts, reasons, moves=False)
    return {"phase": "finish" if tidy else "rebalance", "operation": "rebalance", "sub_hosts": sub_hosts}


def _sub_hosts(target, found, hosts, reasons, moves=True):
    """The sub-hosts with their shares; refuses, if there are reasons, with all of them."""
    main_memory = target["main_memory"]
    shares = {}
    if found["memory"] is not None:
        reasons = reasons + requirements.of_present_sub_hosts(hosts, found, moves)
        if main_memory is not None:
            reasons += requirements.of_limit(target["destination_host"], found, main_memory)
            try:
                shares = requirements.shares([host["name"] for host in target["sub_hosts"]], hosts, found, main_memory)
            except Refused as refused:
                reasons += [reason for reason in refused.reasons if reason not in reasons]
    if reasons:
        raise Refused(reasons)
    return [
        {
            "name": name,
            "address": hosts[name]["address"],
            "port": hosts[name]["memserver_port"],
            "failure_domain": requirements.failure_domain(name, hosts[name]),
            "share": share,
        }
        for name, share in shares.items()
    ]


def _elsewhere(name, recorded):
    if not recorded:
        return f"VM {name} is being migrated by other means"
    if recorded["main_memory"] is None:
        return "VM {} is on its way to {} already, with all of its memory".format(name, recorded["destination_host"])
    return "VM {} is on its way to {} already, with {} there and the rest on {}".format(
        name,
        recorded["destination_host"],
        format_size(recorded["main_memory"]),
        ", ".join(host["name"] for host in recorded["sub_hosts"]),
    )
