# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans how a host is emptied: where each VM that runs there goes, and each session that it holds. Pure."""

from __future__ import annotations

import copy

from ansible_collections.smemv.kvm.plugins.module_utils import (
    placement,
    planner,
    preflight,
    requirements,
    whereabouts,
)
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.request import ALL
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import format_size


def evacuate(host, hosts, kvm_hosts, memservers, vms_too):
    """The relocations that empty a host, to be done one after another.

    :param host: its name.
    :param hosts: as for preflight.plan(); of all hosts.
    :param kvm_hosts, memservers: names of the hosts in these groups of the inventory.
    :param vms_too: whether the VMs that run there move away; else only the sessions on its memserver do.
    :returns: [{vm, destination_host, sub_hosts: [name], main_memory: text, hosts: [name]}], requests of
        preflight.plan() with the hosts that take part. None of them brings anything to the host.
    :raises Refused: with what keeps each VM from being moved.
    """
    if host not in hosts:
        raise Refused([(host, "no host of that name is in the inventory")])
    if "unreachable" in hosts[host]:
        raise Refused([(host, "cannot be reached: {}".format(hosts[host]["unreachable"]))])
    hosts = copy.deepcopy(hosts)
    if hosts[host]["maintenance"] is None:
        hosts[host]["maintenance"] = "it is being emptied"
    inventory = [name for name in hosts if "unreachable" not in hosts[name] and name != host]
    kvm_hosts = [name for name in inventory if name in kvm_hosts]
    memservers = [name for name in inventory if name in memservers]
    requests, reasons = [], []
    for vm in _involved(host, hosts, vms_too):
        try:
            request = _request(vm, host, hosts, kvm_hosts, memservers)
            plan = preflight.plan(request, hosts)
        except Refused as refused:
            reasons.append((host, f"holds VM {vm} or pages of it, which cannot go elsewhere"))
            reasons += refused.reasons
        else:
            requests.append(dict(request, hosts=_taking_part(vm, plan, hosts)))
            _account(vm, plan, hosts)
    if reasons:
        raise Refused(reasons)
    return requests


def _involved(host, hosts, vms_too):
    """Names of the VMs that have pages on the host, or run or have left something there."""
    info = hosts[host]
    names = {session["name"] for session in info["memserver"].get("sessions", [])}
    for other in hosts.values():
        for machine in other.get("vms", []):
            if host in _sub_hosts(machine):
                names.add(machine["name"])
    if vms_too:
        # A VM that is only defined there needs nothing of the host.
        names.update(machine["name"] for machine in info["vms"] if machine["state"] != "stopped")
    return sorted(names)


def _sub_hosts(machine):
    return [sub_host["name"] for sub_host in (machine["memory"] or {}).get("sub_hosts", [])]


def _request(vm, host, hosts, kvm_hosts, memservers):
    """What is to be asked for one VM."""
    machines = whereabouts.machines(vm, hosts)
    source = whereabouts.source(vm, machines, hosts)
    machine = machines[source]
    recorded = machine["relocation"]
    if whereabouts.is_moving(machine) and recorded:
        # Whoever began it was cut off: it goes on to where it was going.
        target = dict(recorded, sub_hosts=[sub_host["name"] for sub_host in recorded["sub_hosts"]])
        if host in (target["destination_host"], *target["sub_hosts"]):
            raise Refused([(source, f"VM {vm} is on its way there: wait until it has come, or cancel that")])
        return _in_words(vm, target)
    # As much of it stays on a main host as was there before.
    wanted = {"main_memory": placement.current(machine["memory"])["main_memory"]}
    whole = wanted["main_memory"] is None
    if whole:
        wanted["sub_hosts"] = []
    if source != host:
        wanted["destination_host"] = source

    def choose(wanted):
        return _in_words(vm, planner.choose(wanted, source, machine, hosts, kvm_hosts, memservers)[0])

    try:
        return choose(wanted)
    except Refused as refused:
        if not whole:
            raise
        reasons = refused.reasons
    # No host can take it whole.
    try:
        return choose({})
    except Refused as refused:
        raise Refused(dict.fromkeys([*reasons, *refused.reasons])) from refused


def _in_words(vm, target):
    limit = target["main_memory"]
    return {
        "vm": vm,
        "destination_host": target["destination_host"],
        "main_memory": ALL if limit is None else format_size(limit),
        "sub_hosts": target["sub_hosts"],
    }


def _taking_part(vm, plan, hosts):
    """Names of the hosts that the relocation changes anything on."""
    machine = whereabouts.machines(vm, hosts)[plan["source_host"]]
    names = {plan["source_host"], plan["destination_host"], *plan["leftovers"], *_sub_hosts(machine)}
    return sorted(names | {sub_host["name"] for sub_host in plan["sub_hosts"]})


def _account(vm, plan, hosts):
    """Take from the hosts what the plan will take: the next VM is not planned into the same room."""
    if plan["phase"] == "attach":
        # It has taken most of it, and what of it cannot be told.
        return
    machine = whereabouts.machines(vm, hosts)[plan["source_host"]]
    if plan["phase"] == "start":
        size = requirements.resident_size(machine, plan["main_memory"]) + requirements.overhead(machine)
        hosts[plan["destination_host"]]["memory"]["available"] -= size
    present = placement.current(machine["memory"])["sub_hosts"]
    for sub_host in plan["sub_hosts"]:
        if sub_host["share"] is not None:
            grown = sub_host["share"] - present.get(sub_host["name"], 0)
            memserver = hosts[sub_host["name"]]["memserver"]
            memserver["reserved"] += grown
            if not memserver["huge_pages"]:
                hosts[sub_host["name"]]["memory"]["available"] -= grown
