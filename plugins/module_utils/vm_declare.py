# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a VM of this host to what a task declares."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils import host, vm, vm_limit
from ansible_collections.smemv.kvm.plugins.module_utils.errors import ConfigError, HostError
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import parse_pages, parse_size


def declare(vms, params, check):
    """Make the VM what ``params`` say.

    :param vms: a VmHost.
    :param params: the options of the module vm.
    :param check: only say what would be done.
    :returns: {changed, actions, diff, config}.
    """
    name, state = params["name"], params["state"]
    limit, bandwidth = _limit(params)
    found = vms.describe(name)
    _refuse_in_transit(name, found)
    before = found["config"] if found else None
    runs = found is not None and found["state"] != "stopped"
    if state == "absent":
        steps = [("stop", lambda: vms.shut_down(name, params["shutdown_timeout"]))] if runs else []
        steps += [("remove", lambda: vms.undefine(name))] if found else []
        return _carry_out(steps, check, _state(found, before), _state(None, None), None)

    after = vm.complete(name, params, before, host.kvm())
    changed = vm.differences(before, after)
    if changed and runs and state == "running":
        raise ConfigError(
            "VM {} runs with another {}: stop it before its configuration is changed".format(name, ", ".join(changed))
        )
    steps = []
    if runs and state == "stopped":
        steps.append(("stop", lambda: vms.shut_down(name, params["shutdown_timeout"])))
    if not vms.defined(name, after):
        steps.append(("define", lambda: vms.define(name, after)))
    if not runs and state == "running":
        steps.append(("start", lambda: vms.start(name)))
    steps += vm_limit.steps(vms, found, name, limit, bandwidth)
    was, wanted = _state(found, before), {"state": state, "config": after}
    if runs and state == "running":
        # Paused or unresponsive is QEMU's matter; the unit is what this declares.
        wanted["state"] = found["state"]
    if limit is not None:
        was["main_memory"], wanted["main_memory"] = found["memory"]["limit"], limit
    return _carry_out(steps, check, was, wanted, after)


def _limit(params):
    """Bytes that may be resident of a split VM, or None; and bytes a second at which it is filled."""
    if params.get("main_memory") is None:
        return None, 0
    if params["state"] != "running":
        raise ConfigError("main_memory is for a VM that runs, and state is {}".format(params["state"]))
    return parse_pages(params["main_memory"], "main_memory"), parse_size(params.get("bandwidth", "0B"), "bandwidth")


def _refuse_in_transit(name, found):
    if found is None:
        return
    if not found["adopted"]:
        raise HostError(
            f"VM {name} is on its way to this host: end that relocation first, by the playbook that began it"
        )
    if found["state"] == "moved":
        raise HostError(
            f"VM {name} has moved to another host: end that relocation first, by the playbook that began it"
        )


def _state(found, config):
    return {"state": found["state"] if found else "absent", "config": config}


def _carry_out(steps, check, before, after, config):
    if not check:
        for _action, step in steps:
            step()
    result = {
        "changed": bool(steps),
        "actions": [action for action, _step in steps],
        "diff": {"before": before, "after": after},
    }
    if config is not None:
        result["config"] = config
    return result
