# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The split migration of a VM from this host: begun, attached to, or found done."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils.errors import (
    HostError,
    QmpCommandError,
    RelocationFailed,
    RelocationTimeout,
)
from ansible_collections.smemv.kvm.plugins.module_utils.relocation import Relocation, figures, same_target


def split_migrate(vms, name, target, waiting, check):
    """Bring the VM to its target.

    :param vms: a VmHost.
    :param target: as for Relocation.start_split(), with destination_host.
    :param waiting: (timeout, interval) in seconds, or None not to wait.
    :param check: only say what would be done.
    :returns: what the module split_migrate returns.
    """
    found = vms.describe(name)
    if found is None:
        raise HostError(f"there is no VM {name} here")
    relocation = Relocation(lambda: vms.connect(name), name)
    last = relocation.observe()
    recorded = found["relocation"]
    if last["progress"] in ("under_way", "completed") and not (recorded and same_target(recorded, target)):
        raise HostError(f"VM {name} is moving already, elsewhere or by other means")
    result = {
        "changed": last["progress"] != "completed",
        "actions": {"completed": [], "under_way": ["attach"]}.get(last["progress"], ["migrate"]),
        "destination_host": target["destination_host"],
        "diff": {"before": _placement(last["memory"]), "after": _target_placement(target)},
    }
    if check:
        return result
    try:
        if last["progress"] not in ("under_way", "completed"):
            _start(vms, name, relocation, target)
        if waiting is None:
            return dict(result, status=relocation.observe()["migration"].get("status"))
        last = relocation.wait(*waiting)
    except RelocationTimeout:
        raise
    except (RelocationFailed, HostError):
        vms.forget_relocation(name)
        raise
    return dict(result, sub_hosts=last["memory"]["sub_hosts"], **figures(last))


def _start(vms, name, relocation, target):
    if target["destination_port"] is None:
        raise HostError("destination_port is wanted: where the destination waits for the VM")
    # First the note: a run that is cut off right after the migration began has to find it.
    vms.record_relocation(name, target)
    try:
        relocation.start_split(target)
    except QmpCommandError as error:
        raise HostError(f"VM {name} cannot be split: {error.description}") from error


def _placement(memory):
    if memory is None or memory["state"] == "whole":
        return {"main_memory": "all"}
    shares = {host["name"]: host["share"] for host in memory["sub_hosts"]}
    return {"main_memory": memory["limit"], "sub_hosts": shares}


def _target_placement(target):
    shares = {host["name"]: host["share"] for host in target["sub_hosts"]}
    return {"main_memory": target["main_memory"], "sub_hosts": shares}
