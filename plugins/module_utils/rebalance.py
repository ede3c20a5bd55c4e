# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Primitive 2: the remote memory of a VM that runs on this host is placed anew, the VM running on."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils import placement
from ansible_collections.smemv.kvm.plugins.module_utils.errors import HostError, QmpCommandError, RelocationFailed
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import round_size
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import query_smemv
from ansible_collections.smemv.kvm.plugins.module_utils.waiting import Waiter


def rebalance(vms, name, target, waiting, check, waiter=None):
    """Bring the VM's memory to its target.

    :param vms: a VmHost.
    :param target: {main_memory: bytes or None for all, sub_hosts: [{name, address, port, share, failure_domain}],
        bandwidth: bytes a second, 0: no limit}. A share of None is what the sub-host has.
    :param waiting: (timeout, interval) in seconds, or None not to wait.
    :param check: only say what would be done.
    :param waiter: a Waiter; for tests.
    :returns: what the module rebalance returns.
    """
    look = _Look(vms, name)
    with vms.alone(name):
        memory = look()
        before = placement.current(memory)
        target = dict(target, sub_hosts=_with_shares(target["sub_hosts"], before["sub_hosts"]))
        aim = placement.wanted(target["main_memory"], target["sub_hosts"])
        if not placement.is_split(memory) and target["sub_hosts"]:
            raise HostError(f"VM {name} is whole: only a split migration to another host splits it")
        action = _action(memory, before, aim)
        result = {
            "changed": action is not None,
            "actions": [action] if action else [],
            "diff": {"before": before, "after": aim},
        }
        if check:
            return result
        if action == "rebalance":
            _start(vms, name, target, memory)
    if waiting is None:
        return dict(result, memory=look())
    return dict(result, memory=_wait(waiter or Waiter(name), look, name, aim, waiting))


class _Look:
    """Looks at where the VM's memory is."""

    def __init__(self, vms, name):
        self._vms = vms
        self._name = name

    def __call__(self):
        with self._vms.connect(self._name) as client:
            memory = query_smemv(client)
        if memory is None:
            raise HostError(f"VM {self._name} was started by a QEMU without split migration")
        return memory


def _with_shares(sub_hosts, shares):
    """The sub-hosts, those without a share with the one that they have."""
    missing = [host["name"] for host in sub_hosts if host["share"] is None and host["name"] not in shares]
    if missing:
        raise HostError("a share is wanted for {}, which the VM does not have yet".format(", ".join(missing)))
    return [dict(host, share=shares[host["name"]] if host["share"] is None else host["share"]) for host in sub_hosts]


def _action(memory, before, aim):
    """What is to be done; None: nothing."""
    if not placement.leads_to(before, aim["main_memory"], aim["sub_hosts"]):
        return "rebalance"
    if not placement.is_settled(memory):
        # Until then shares are what is reserved just now, and say nothing of the end.
        return "attach"
    return None if before == aim else "rebalance"


def _start(vms, name, target, memory):
    arguments = {"max_bandwidth": target["bandwidth"]} if target["bandwidth"] else {}
    with vms.connect(name) as client:
        try:
            client.execute(
                "smemv-rebalance",
                main_limit=memory["total"] if target["main_memory"] is None else target["main_memory"],
                sub_hosts=placement.as_qmp(target["sub_hosts"], placement.copies(memory)),
                **arguments,
            )
        except QmpCommandError as error:
            raise HostError(f"VM {name} cannot be rebalanced: {error.description}") from error


def _wait(waiter, look, name, aim, waiting):
    def done(memory):
        now = placement.current(memory)
        settled = placement.is_settled(memory)
        # The limit follows the reservations.
        if now["sub_hosts"].keys() != aim["sub_hosts"].keys() or (settled and now["main_memory"] != aim["main_memory"]):
            raise RelocationFailed(f"the memory of VM {name} was given another aim meanwhile")
        return settled

    return waiter.until(look, done, lambda memory: late(name, memory, waiting[0]), *waiting)


def late(name, memory, timeout):
    """A sentence for memory that is not where it is to be after ``timeout`` seconds. Pure."""
    reason = memory.get("rebalance_error")
    return "the memory of VM {} is not where it is to be after {} s: {} are left{}; it goes on".format(
        name, timeout, round_size(memory["rebalance_remaining"]), f", for {reason}" if reason else ""
    )
