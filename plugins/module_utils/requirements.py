# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a relocation wants of each host, and what is missing there. Pure: reasons as (host, what is missing)."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils import layout, placement
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import MIB, PAGE, format_size, page_up, round_size

MINIMUM = 64 * MIB
MINIMUM_A_VCPU = 32 * MIB
# What QEMU itself wants beside the guest's memory, and what for each page of it: where it is, when it came, and where
# it lies in staging, with a limit as large as the VM; its tag and version where pages are sealed; and where the second
# copy is of those that have two.
OVERHEAD = 64 * MIB
OVERHEAD_A_PAGE = 16
SEAL_A_PAGE = 24
TWIN_A_PAGE = 2


def of_source(source, machine, main_memory):
    """What keeps the VM from being relocated so at all."""
    name, memory = machine["name"], machine["memory"]
    if memory is None:
        return [
            (
                source,
                "VM {} was started by a QEMU without split migration ({}): start it by the one that the role qemu"
                " installs".format(name, machine["qemu"]["version"]),
            )
        ]
    if memory["state"] not in ("whole", "split"):
        return [(source, "VM {} is {}".format(name, memory["state"]))]
    if main_memory is None and not placement.is_split(memory):
        # An ordinary migration, which QEMU itself judges.
        return []
    return [(source, f"VM {name} cannot be split: {reason}") for reason in memory["blocked"]]


def of_rest(source, machine):
    """What keeps a VM from moving while its memory is still on its way."""
    memory = machine["memory"]
    if memory and not placement.is_settled(memory):
        return [
            (
                source,
                "the memory of VM {} is still being rebalanced, {} are left: wait until that is done".format(
                    machine["name"], round_size(memory["rebalance_remaining"])
                ),
            )
        ]
    return []


def of_vm_host(host, info, machine):
    """What a host has not that is to run the VM, however much of its memory is to be there.

    :param machine: the VM, as the host that runs it now describes it.
    """
    if "unreachable" in info:
        return [(host, "cannot be reached: {}".format(info["unreachable"]))]
    name = machine["name"]
    reasons = [(host, missing) for missing in _maintenance(info)]
    if not info["userfaultfd"]["move"]:
        reasons.append((host, info["userfaultfd"]["reason"]))
    if not info["qemu"]["smemv"]:
        reasons.append((host, info["qemu"]["reason"]))
    if machine["config"]["accel"] == "kvm" and not info["kvm"]:
        reasons.append((host, f"has no /dev/kvm, which VM {name} runs with"))
    for other in info["vms"]:
        if other["name"] == name and other["adopted"]:
            reasons.append((host, "has a VM {} of its own, {}".format(name, other["state"])))
    return reasons


def of_destination(destination, info, machine, main_memory):
    """What the host that is to run the VM has not.

    :param machine: as for of_vm_host().
    :param main_memory: bytes that may be resident, or None for all.
    """
    reasons = of_vm_host(destination, info, machine)
    size = resident_size(machine, main_memory)
    if "unreachable" in info or size <= most_resident(destination, info, machine):
        return reasons
    what = f"main_memory {format_size(size)}" if main_memory else f"all of VM {machine['name']} ({format_size(size)})"
    beside = beside_resident(destination, machine)
    wanting = "QEMU itself"
    if destination in present_sub_hosts(machine["memory"]):
        wanting += ", and the pages that it holds until it runs the VM,"
    return [
        *reasons,
        (
            destination,
            "has {} of memory free, and {} and {} want {}".format(
                round_size(info["memory"]["available"]), what, wanting, round_size(size + beside)
            ),
        ),
    ]


def most_resident(destination, info, machine):
    """Bytes of a VM that moves to a host that may be resident there; none at all where it is less than nothing."""
    return info["memory"]["available"] - beside_resident(destination, machine)


def beside_resident(destination, machine):
    """Bytes that a host wants for a VM that moves there beside what is resident."""
    present = present_sub_hosts(machine["memory"])
    if destination not in present:
        return overhead(machine)
    # Its memserver is asked for its part of the room for all of the VM, as in of_present_sub_hosts().
    return overhead(machine) + page_up(-(-_extra(machine["memory"]) // len(present)))


def overhead(machine):
    """Bytes that QEMU itself wants for a VM."""
    memory = machine["memory"]
    if memory is None:
        return OVERHEAD
    a_page = OVERHEAD_A_PAGE + (SEAL_A_PAGE if memory.get("sealed") else 0)
    a_page += TWIN_A_PAGE if placement.copies(memory) > 1 else 0
    return OVERHEAD + page_up(memory["total"] // PAGE * a_page)


def of_main_host(host, info, machine, main_memory):
    """What the host that runs the VM already has not, where more of its memory is to be there."""
    memory = machine["memory"]
    growth = resident_size(machine, main_memory) - memory["resident"]
    if growth <= 0 or main_memory == memory["limit"]:
        return []
    reasons = [(host, missing) for missing in _maintenance(info)]
    if info["memory"]["available"] < growth:
        reasons.append(
            (
                host,
                "has {} of memory free, and VM {} would want {} more there".format(
                    round_size(info["memory"]["available"]), machine["name"], round_size(growth)
                ),
            )
        )
    return reasons


def resident_size(machine, main_memory):
    """Bytes of the VM that may be resident on its main host; 0 where its memory cannot be told."""
    if main_memory is not None:
        return main_memory
    return machine["memory"]["total"] if machine["memory"] else 0


def least_resident(machine):
    """Bytes without which the VM cannot work."""
    return max(MINIMUM, MINIMUM_A_VCPU * machine["config"]["vcpus"])


def of_limit(destination, machine, main_memory):
    """What is wrong with the limit that is asked for."""
    name, memory = machine["name"], machine["memory"]
    minimum = least_resident(machine)
    if main_memory < minimum:
        return [
            (
                destination,
                f"main_memory {format_size(main_memory)} is less than the {format_size(minimum)}"
                f" that VM {name} can work with",
            )
        ]
    if layout.remote_need(memory["total"], main_memory) == 0 or main_memory >= memory["total"]:
        return [
            (
                destination,
                "main_memory {} holds all of VM {} ({}): there is nothing to split".format(
                    format_size(main_memory), name, format_size(memory["total"])
                ),
            )
        ]
    return []


def of_present_sub_hosts(hosts, machine, moves):
    """What is missing on the sub-hosts that hold pages of the VM now.

    :param moves: whether the VM is to be migrated. While that lasts, these sub-hosts reserve room for all of it:
        what the source has sent there is kept beside what it still changes.
    """
    memory = machine["memory"]
    if not placement.is_split(memory):
        return []
    reasons, room = [], {}
    for name, sub_host in present_sub_hosts(memory).items():
        refusal, room[name] = sub_host_room(hosts.get(name, {"unreachable": "it is not in the inventory"}))
        if refusal:
            reasons.append((name, refusal))
        elif not sub_host["connected"]:
            reasons.append((name, "its memserver does not answer VM {}, which has pages there".format(machine["name"])))
    if reasons or not moves:
        return reasons
    extra = _extra(memory)
    if layout.fits_in_parts(extra, list(room.values())):
        return []
    wanted = (
        f"while VM {machine['name']} moves {round_size(extra)} more are wanted of its present sub-hosts together, in"
        f" about equal parts; they have {round_size(sum(room.values()))}"
    )
    return [(name, f"its memserver has room for {round_size(size)} more, and {wanted}") for name, size in room.items()]


def _extra(memory):
    """Bytes that a split VM's sub-hosts reserve beside its shares while it moves."""
    shares = sum(sub_host["share"] for sub_host in present_sub_hosts(memory).values())
    return max(0, placement.copies(memory) * memory["total"] - shares)


def present_sub_hosts(memory):
    """{name: what query-smemv says of it} of the sub-hosts that a VM has, and that were not found to be lost."""
    if not memory or not placement.is_split(memory):
        return {}
    return {host["name"]: host for host in memory["sub_hosts"] if not host.get("failed")}


def failure_domain(name, info):
    """What fails together with a host: nothing but itself, where the inventory does not say."""
    domain = info.get("failure_domain")
    return name if domain is None else str(domain)


def shares(names, hosts, machine, main_memory):
    """How much of the VM each sub-host is to hold.

    :param names: of the sub-hosts that are asked for.
    :returns: {name: bytes}.
    :raises Refused: with what is missing on each.
    """
    memory = machine["memory"]
    present = present_sub_hosts(memory)
    known = list(dict.fromkeys([*present, *names]))
    most = layout.MOST_SUB_HOSTS
    if len(known) > most:
        raise Refused(
            (name, f"would be one of {len(known)} sub-hosts of VM {machine['name']}, which can have {most}")
            for name in known[most:]
        )
    reasons, room = [], {}
    for name in names:
        refusals, room[name] = of_sub_host(hosts[name], present.get(name))
        reasons += [(name, missing) for missing in refusals]
    if reasons:
        raise Refused(reasons)
    copies, need = placement.copies(memory), layout.remote_need(memory["total"], main_memory)
    domain = {name: failure_domain(name, hosts[name]) for name in names}
    if layout.room_for(copies, room, domain) < need and copies > 1:
        raise Refused(_no_two_copies(need, room, domain))
    room = layout.usable(need, copies, room, domain)
    stay = {host["name"]: host["share"] for host in placement.staying(memory) if host["name"] in present}
    planned = layout.reshape(copies * need, {name: share for name, share in stay.items() if name in room}, room)
    if copies > 1 and not layout.are_apart(need, planned, domain):
        planned = layout.divide(copies * need, room)
    idle = [name for name in names if not planned[name]]
    if idle:
        raise Refused((name, "would hold nothing of VM {}: leave it out".format(machine["name"])) for name in idle)
    return planned


def _no_two_copies(need, room, domain):
    """What each sub-host has for two copies of ``need`` bytes, where that is not enough."""
    most = layout.room_for(2, room, domain)
    return [
        (
            name,
            f"its memserver has room for {round_size(size)} in failure domain {domain[name]}, and two copies of"
            f" {round_size(need)} are wanted in different domains: all sub-hosts together have room for two copies of"
            f" {round_size(most)}",
        )
        for name, size in room.items()
    ]


def of_sub_host(info, present):
    """What a host has not that is to hold pages of a VM, and how many it may hold.

    :param present: what query-smemv says of it, where it holds pages of the VM already.
    :returns: ([what is missing], bytes).
    """
    refusal, free = sub_host_room(info)
    missing = [refusal] if refusal else _maintenance(info)
    if not missing and present is None and free < MIB:
        missing = [_full(info)]
    held = present["remote"] + present.get("second_copies", 0) if present else 0
    return missing, free + (max(present["share"], held) if present else 0)


def sub_host_room(info):
    """(why it cannot be a sub-host or None, bytes that it has room for)."""
    if "unreachable" in info:
        return "cannot be reached: {}".format(info["unreachable"]), 0
    memserver = info["memserver"]
    if not memserver["running"]:
        return "its memserver is not running: {}".format(memserver["reason"]), 0
    # What is reserved is no longer among what the host has free: the memserver commits it. Huge pages never were.
    room = memserver["capacity"] - memserver["reserved"]
    return None, max(0, room if memserver["huge_pages"] else min(room, info["memory"]["available"]))


def _full(info):
    return "its memserver has no room left: {} of {} are reserved, and the host has {} of memory free{}".format(
        round_size(info["memserver"]["reserved"]),
        round_size(info["memserver"]["capacity"]),
        round_size(info["memory"]["available"]),
        " beside its huge pages" if info["memserver"]["huge_pages"] else "",
    )


def _maintenance(info):
    reason = info["maintenance"]
    return [] if reason is None else [f"is in maintenance: {reason}"]
