# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a VM's memory is, or is to be: how much on the main host, how much on which sub-host. Pure.

A placement is {main_memory: bytes or None for all of it, sub_hosts: {name: share in bytes}}.
"""

from __future__ import annotations


def wanted(main_memory, sub_hosts):
    """The placement that is asked for.

    :param main_memory: bytes, or None.
    :param sub_hosts: [{name, share, ...}].
    """
    return {"main_memory": main_memory, "sub_hosts": {host["name"]: host["share"] for host in sub_hosts}}


def as_qmp(sub_hosts, replicas):
    """The sub-hosts as the commands smemv-set-target and smemv-rebalance want them.

    :param sub_hosts: [{name, address, port, share, failure_domain (or None)}].
    :param replicas: how many of them each page is on: with one copy, failure domains are of no use.
    """
    return [
        {
            "name": host["name"],
            "host": host["address"],
            "port": host["port"],
            "share": host["share"],
            **({"failure-domain": host["failure_domain"]} if replicas > 1 and host.get("failure_domain") else {}),
        }
        for host in sub_hosts
    ]


def current(memory):
    """The placement that a VM has. While it is rebalanced the sub-hosts are those that it is to have in the end.

    :param memory: what query-smemv says; None for a QEMU that knows nothing of split VMs.
    """
    if memory is None or not is_split(memory):
        return wanted(None, [])
    stay = staying(memory)
    return wanted(memory["limit"] if stay else None, stay)


def copies(memory):
    """How many sub-hosts each page of the VM is on that is on any, or is to be."""
    return (memory or {}).get("replicas", 1)


def is_split(memory):
    """Whether some of the VM's memory may be on sub-hosts."""
    return memory["limit"] > 0


def staying(memory):
    """The sub-hosts of a VM that are neither being emptied nor lost."""
    return [host for host in memory["sub_hosts"] if not host.get("leaving")]


def is_settled(memory):
    """Whether none of the VM's memory is on its way: also not what is left to do where no sub-host is."""
    return not memory.get("rebalancing") and (bool(staying(memory)) or not is_split(memory))


def leads_to(placed, main_memory, names):
    """Whether a placement has this limit and these sub-hosts, whatever their shares."""
    return placed["main_memory"] == main_memory and set(placed["sub_hosts"]) == set(names)
