# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit of a split VM that runs on this host: how much of its memory may be resident."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils import host, layout, placement, requirements
from ansible_collections.smemv.kvm.plugins.module_utils.errors import HostError, QmpCommandError
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import format_size, round_size


def refuse(machine, limit, info):
    """Refuse a limit that the VM, its sub-hosts or this host do not allow. Pure.

    :param machine: the VM, as VmHost.describe() gives it; None where there is none.
    :param limit: bytes.
    :param info: memory and maintenance of this host, as host_info gives them.
    :raises HostError: with a sentence on what is wrong.
    """
    memory = machine["memory"] if machine else None
    if memory is None or memory["state"] != "split":
        raise HostError("main_memory is for a VM that is split, and this one is not: a relocation splits it")
    if not placement.is_settled(memory):
        raise HostError(
            "its memory is still being rebalanced, {} are left: wait until that is done".format(
                round_size(memory["rebalance_remaining"])
            )
        )
    for _host, reason in requirements.of_limit(None, machine, limit):
        raise HostError(reason)
    shares = sum(sub_host["share"] for sub_host in placement.staying(memory))
    need = placement.copies(memory) * layout.remote_need(memory["total"], limit)
    if shares < need:
        raise HostError(
            f"its sub-hosts have reserved {round_size(shares)}, and with main_memory {format_size(limit)} they would"
            f" need {round_size(need)}: the module rebalance changes their shares"
        )
    for _host, reason in requirements.of_main_host(None, info, machine, limit):
        raise HostError(f"this host {reason}")


def steps(vms, machine, name, limit, bandwidth):
    """What is to be done for the limit, as declare() wants it.

    :param vms: a VmHost.
    :param machine: the VM, as VmHost.describe() gives it; None where there is none.
    :param limit: bytes, or None: it stays as it is.
    :param bandwidth: bytes a second at which pages come in where it rises; 0: no limit.
    """
    if limit is None or (machine and machine["memory"] and machine["memory"]["limit"] == limit):
        return []
    try:
        refuse(machine, limit, {"memory": host.memory(), "maintenance": host.maintenance()})
    except HostError as error:
        raise HostError(f"the limit of VM {name} cannot be changed: {error}") from error
    return [("limit", lambda: _set(vms, name, limit, bandwidth))]


def _set(vms, name, limit, bandwidth):
    with vms.connect(name) as client:
        try:
            client.execute("smemv-set-limit", limit=limit, **({"max_bandwidth": bandwidth} if bandwidth else {}))
        except QmpCommandError as error:
            raise HostError(f"the limit of VM {name} cannot be changed: {error.description}") from error
