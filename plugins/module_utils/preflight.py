# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges a split migration before anything is touched. Pure: what the hosts said in, a plan or refusals out."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils import layout, relocation
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused, SizeError
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import (
    MIB,
    format_size,
    parse_pages,
    round_size,
)

MINIMUM = 64 * MIB
MINIMUM_A_VCPU = 32 * MIB
# What QEMU itself wants beside the guest's memory.
OVERHEAD = 64 * MIB
# For what a host with this name cannot be blamed for.
REQUEST = "request"


def check_request(request, kvm_hosts, memservers):
    """Refuse what can be seen without asking any host.

    :param request: {vm, destination_host, sub_hosts: [name], main_memory: text}.
    :param kvm_hosts, memservers: names of the hosts in these groups of the inventory.
    :raises Refused: with every reason found.
    """
    reasons = []
    try:
        parse_pages(request["main_memory"], "main_memory")
    except SizeError as error:
        reasons.append((REQUEST, str(error)))
    destination = request["destination_host"]
    if destination not in kvm_hosts:
        reasons.append((destination, "no host of that name is in the inventory's group kvm_hosts"))
    if not request["sub_hosts"]:
        reasons.append((REQUEST, "sub_hosts names no host"))
    for host in sorted(set(request["sub_hosts"])):
        if host not in memservers:
            reasons.append((host, "no host of that name is in the inventory's group memservers"))
        if host == destination:
            reasons.append((host, "is the destination and cannot be a sub-host too"))
        if request["sub_hosts"].count(host) > 1:
            reasons.append((host, "is listed twice in sub_hosts"))
    if reasons:
        raise Refused(reasons)


def plan(request, hosts):
    """What is to be done for a split migration, from what the hosts say.

    :param request: as in check_request().
    :param hosts: {name: what the module host_info returned there, with ``address``; or {unreachable: why}}.
    :returns: {phase, source_host, destination_host, main_memory, sub_hosts: [{name, address, port, share}], config,
        leftovers: [host]}. ``phase`` is ``start``; ``attach``: that migration is under way, to
        ``destination_address`` and ``destination_port``; ``finish``: it is done and the hosts are not tidied up
        yet; ``done``.
    :raises Refused: with every reason found.
    """
    main_memory = parse_pages(request["main_memory"], "main_memory")
    destination = request["destination_host"]
    vms = _vms(request["vm"], hosts)
    source = _source(request["vm"], vms, hosts)
    if source == destination:
        return _arrived(request, main_memory, vms)

    found = vms[source]
    target = {
        "destination_host": destination,
        "main_memory": main_memory,
        "sub_hosts": [{"name": host} for host in request["sub_hosts"]],
    }
    recorded = found["relocation"]
    if recorded and found["migration"] and found["migration"].get("status") in relocation.UNDER_WAY:
        if not relocation.same_target(recorded, target):
            raise Refused([(source, _elsewhere(request["vm"], recorded))])
        return dict(recorded, phase="attach", source_host=source, config=found["config"], leftovers=[])

    reasons = _source_reasons(request["vm"], source, found)
    reasons += _destination_reasons(request["vm"], destination, hosts[destination], found, main_memory)
    need = None
    if found["memory"] is not None:
        total = found["memory"]["total"]
        reasons += _limit_reasons(request["vm"], destination, found, main_memory, total)
        need = layout.remote_need(total, main_memory)
    room = {}
    for host in request["sub_hosts"]:
        refusal, room[host] = _sub_host_room(hosts[host])
        if refusal:
            reasons.append((host, refusal))
    shares = {}
    if need is not None and not any(host in room for host, _reason in reasons):
        try:
            shares = layout.divide(need, room)
        except Refused as refused:
            reasons += refused.reasons
    if reasons:
        raise Refused(reasons)
    return dict(
        target,
        phase="start",
        source_host=source,
        sub_hosts=[
            {
                "name": host,
                "address": hosts[host]["address"],
                "port": hosts[host]["memserver_port"],
                "share": shares[host],
            }
            for host in request["sub_hosts"]
        ],
        config=found["config"],
        leftovers=[],
    )


def _vms(name, hosts):
    """{host: its VM of that name}, of the hosts that have one."""
    return {
        host: machine
        for host, info in sorted(hosts.items())
        for machine in info.get("vms", [])
        if machine["name"] == name
    }


def _runs(machine):
    """Whether this is where the VM is: it runs, or is paused for the last step of a migration from here."""
    if machine["state"] == "running":
        return True
    status = (machine["migration"] or {}).get("status")
    return machine["state"] not in ("incoming", "moved") and status in relocation.UNDER_WAY


def _source(name, vms, hosts):
    running = [host for host, machine in vms.items() if _runs(machine)]
    if len(running) == 1:
        return running[0]
    if running:
        raise Refused((host, f"VM {name} runs here, and on another host too") for host in running)
    if vms:
        raise Refused(
            (host, "VM {} is {} here, and runs on no host".format(name, machine["state"]))
            for host, machine in vms.items()
        )
    silent = [host for host, info in sorted(hosts.items()) if "unreachable" in info]
    asked = [host for host in sorted(hosts) if host not in silent]
    reasons = [(REQUEST, "no host has a VM {} (asked: {})".format(name, ", ".join(asked) or "none"))]
    raise Refused(reasons + [(host, "cannot be reached: {}".format(hosts[host]["unreachable"])) for host in silent])


def _arrived(request, main_memory, vms):
    """The plan where the VM runs on the destination already."""
    name, destination = request["vm"], request["destination_host"]
    machine = vms[destination]
    memory = machine["memory"]
    if memory is None or memory["state"] != "split":
        raise Refused([(destination, f"VM {name} runs here already: the destination is the source")])
    leftovers = [host for host in vms if host != destination]
    names = sorted(host["name"] for host in memory["sub_hosts"])
    if memory["limit"] != main_memory or names != sorted(request["sub_hosts"]):
        raise Refused(
            [
                (
                    destination,
                    "VM {} runs here already, with {} on the main host and the rest on {}".format(
                        name, format_size(memory["limit"]), ", ".join(names)
                    ),
                )
            ]
        )
    return {
        "phase": "done" if machine["adopted"] and not leftovers else "finish",
        "source_host": destination,
        "destination_host": destination,
        "main_memory": main_memory,
        "sub_hosts": [
            {"name": host["name"], "address": host["host"], "port": host["port"], "share": host["share"]}
            for host in memory["sub_hosts"]
        ],
        "config": machine["config"],
        "leftovers": leftovers,
    }


def _elsewhere(name, recorded):
    return "VM {} is on its way to {} already, with {} there and the rest on {}".format(
        name,
        recorded["destination_host"],
        format_size(recorded["main_memory"]),
        ", ".join(host["name"] for host in recorded["sub_hosts"]),
    )


def _source_reasons(name, source, machine):
    if machine["memory"] is None:
        return [
            (
                source,
                "VM {} was started by a QEMU without split migration ({}): start it by the one that the role qemu"
                " installs".format(name, machine["qemu"]["version"]),
            )
        ]
    if machine["memory"]["state"] != "whole":
        return [(source, "VM {} is {} already".format(name, machine["memory"]["state"]))]
    return [(source, f"VM {name} cannot be split: {reason}") for reason in machine["memory"]["blocked"]]


def _destination_reasons(name, destination, info, found, main_memory):
    if "unreachable" in info:
        return [(destination, "cannot be reached: {}".format(info["unreachable"]))]
    reasons = []
    if not info["userfaultfd"]["move"]:
        reasons.append((destination, info["userfaultfd"]["reason"]))
    if not info["qemu"]["smemv"]:
        reasons.append((destination, info["qemu"]["reason"]))
    if found["config"]["accel"] == "kvm" and not info["kvm"]:
        reasons.append((destination, f"has no /dev/kvm, which VM {name} runs with"))
    if info["memory"]["available"] < main_memory + OVERHEAD:
        reasons.append(
            (
                destination,
                "has {} of memory free, and main_memory {} and QEMU itself want {}".format(
                    round_size(info["memory"]["available"]),
                    format_size(main_memory),
                    round_size(main_memory + OVERHEAD),
                ),
            )
        )
    for machine in info["vms"]:
        if machine["name"] == name and machine["adopted"]:
            reasons.append((destination, "has a VM {} of its own, {}".format(name, machine["state"])))
    return reasons


def _limit_reasons(name, destination, machine, main_memory, total):
    minimum = max(MINIMUM, MINIMUM_A_VCPU * machine["config"]["vcpus"])
    if main_memory < minimum:
        return [
            (
                destination,
                f"main_memory {format_size(main_memory)} is less than the {format_size(minimum)}"
                f" that VM {name} can work with",
            )
        ]
    if layout.remote_need(total, main_memory) == 0 or main_memory >= total:
        return [
            (
                destination,
                f"main_memory {format_size(main_memory)} holds all of VM {name} ({format_size(total)}):"
                " there is nothing to split",
            )
        ]
    return []


def _sub_host_room(info):
    """(refusal or None, bytes that a sub-host has room for)."""
    if "unreachable" in info:
        return "cannot be reached: {}".format(info["unreachable"]), 0
    memserver = info["memserver"]
    if not memserver["running"]:
        return "its memserver is not running: {}".format(memserver["reason"]), 0
    reserved = memserver["reserved"] - memserver["used"]
    room = min(memserver["capacity"] - memserver["reserved"], info["memory"]["available"] - reserved)
    if room < MIB:
        return "its memserver has no room left: {} of {} are reserved, and the host has {} of memory free".format(
            round_size(memserver["reserved"]),
            round_size(memserver["capacity"]),
            round_size(info["memory"]["available"]),
        ), 0
    return None, room
