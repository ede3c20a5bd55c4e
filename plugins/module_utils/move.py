# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Primitive 1: the main of a VM moves from this host: begun, attached to, or found done."""

from __future__ import annotations

import os

from ansible_collections.smemv.kvm.plugins.module_utils import placement
from ansible_collections.smemv.kvm.plugins.module_utils.errors import (
    HostError,
    QmpCommandError,
    RelocationFailed,
    RelocationStalled,
    RelocationTimeout,
)
from ansible_collections.smemv.kvm.plugins.module_utils.relocation import (
    Relocation,
    describe_failure,
    describe_stall,
    figures,
    same_target,
)

# What each operation begins with and leads to: whether the VM is split before, where it has to be the one or the other.
_SPLIT_BEFORE = {"split_migrate": False, "remigrate": True, "consolidate": None}
_INSTEAD = {True: "it is whole: split_migrate is for that", False: "it is split already: remigrate is for that"}


def move(vms, operation, name, target, waiting, check, warn):
    """Bring the VM to its target.

    :param vms: a VmHost.
    :param operation: split_migrate, remigrate or consolidate.
    :param target: as for Relocation.start(), with destination_host.
    :param waiting: (timeout, interval) in seconds, or None not to wait.
    :param check: only say what would be done.
    :param warn: (sentence) -> None, as AnsibleModule.warn.
    :returns: what the modules of these names return.
    """
    if vms.config(name) is None:
        raise HostError(f"there is no VM {name} here")
    relocation = Relocation(lambda: vms.connect(name), name)
    with vms.alone(name):
        last = relocation.observe()
        recorded = vms.recorded_relocation(name)
        if last["progress"] == "fenced":
            raise HostError(describe_failure(name, last))
        if last["progress"] in ("under_way", "completed"):
            if not (recorded and same_target(recorded, target)):
                raise HostError(f"VM {name} is moving already, elsewhere or by other means")
            action = "attach" if last["progress"] == "under_way" else None
        else:
            action = "migrate"
            _refuse_state(operation, name, last["memory"])
            _refuse_plain_key(name, last["memory"], target)
        before = {"main_host": os.uname().nodename, **placement.current(last["memory"])}
        after = {
            "main_host": target["destination_host"],
            **placement.wanted(target["main_memory"], target["sub_hosts"]),
        }
        result = {
            "changed": action is not None,
            "actions": [action] if action else [],
            "destination_host": target["destination_host"],
            # A VM that has left does not say any more where its memory is.
            "diff": {"before": before if action else after, "after": after},
        }
        if check:
            return result
        if action == "migrate":
            _start(vms, operation, name, relocation, target)
    if waiting is None:
        return dict(result, status=relocation.observe()["migration"].get("status"))
    try:
        last = relocation.wait(*waiting, _at_stall(target["on_stall"], warn))
    except RelocationTimeout:
        raise
    except RelocationStalled as error:
        last = relocation.cancel()
        # It may have got through just then.
        if last["progress"] != "completed":
            vms.forget_relocation(name)
            raise RelocationFailed(describe_stall(name, last["progress"], str(error))) from error
    except RelocationFailed:
        vms.forget_relocation(name)
        raise
    return dict(result, sub_hosts=last["memory"]["sub_hosts"], **figures(last))


def _at_stall(on_stall, warn):
    """What a wait does at each look at which the migration stalls: end, or say so once."""
    said = []

    def stalled(sentence):
        if on_stall == "fail":
            raise RelocationStalled(sentence)
        if not said:
            said.append(sentence)
            warn(sentence)

    return stalled


def _refuse_state(operation, name, memory):
    split_before = _SPLIT_BEFORE[operation]
    if split_before is not None and memory is not None and placement.is_split(memory) != split_before:
        raise HostError(f"VM {name} is not moved: {_INSTEAD[split_before]}")


def _refuse_plain_key(name, memory, target):
    sealed = target.get("seal") or (memory or {}).get("sealed")
    if sealed and not target["tls"]:
        raise HostError(
            f"VM {name} is not moved: its pages are sealed, and their key travels in the migration stream,"
            " which is in the clear without TLS"
        )


def _start(vms, operation, name, relocation, target):
    if target["destination_port"] is None:
        raise HostError("destination_port is wanted: where the destination waits for the VM")
    # First the note: a run that is cut off right after the migration began has to find it.
    vms.record_relocation(name, dict(target, operation=operation))
    try:
        relocation.start(target)
    except QmpCommandError as error:
        vms.forget_relocation(name)
        raise HostError(f"VM {name} cannot be moved: {error.description}") from error
