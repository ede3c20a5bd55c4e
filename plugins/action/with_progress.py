# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs split_migrate, remigrate, consolidate or rebalance, and prints how far it is while it is waited for.

The module begins what is to be done and does not wait; then the VM's host is looked at again and again; and in the end
the module is asked once more, which finds it done and tells of it. A run that is cut off leaves nothing behind on the
controller: QEMU goes on, and the next run attaches to it, as it does without this plugin.
"""

from __future__ import annotations

import time

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.smemv.kvm.plugins.module_utils import placement, progress, rebalance, relocation
from ansible_collections.smemv.kvm.plugins.module_utils.stall import StallWatch

LOOK = "smemv.kvm.relocation_progress"
CANCEL = "smemv.kvm.relocation_cancel"
# As in the doc fragment.
INTERVAL = 5
TIMEOUT = 3600


class ActionModule(ActionBase):
    """Of all of these modules."""

    def run(self, tmp=None, task_vars=None):
        """What the module returns."""
        result = super().run(tmp, task_vars)
        args = self._task.args
        interval = float(args.get("progress_interval", INTERVAL))
        waits = boolean(args.get("wait", True)) and not self._task.async_val and not self._task.check_mode
        if not waits or interval <= 0:
            result.update(self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val))
            return result
        begun = self._module(task_vars, wait=False)
        if not (begun.get("failed") or begun.get("unreachable")):
            samples = []
            begun.update(self._watch(task_vars, interval, samples) or self._end(task_vars, begun))
            begun["samples"] = samples
        result.update(begun)
        return result

    def _module(self, task_vars, **changes):
        return self._execute_module(module_args={**self._task.args, **changes}, task_vars=task_vars)

    def _watch(self, task_vars, interval, samples):
        """Look, print and keep samples until it is done; what the task returns where it does not end well."""
        args = self._task.args
        name, timeout = args["name"], float(args.get("timeout", TIMEOUT))
        deadline = time.monotonic() + timeout
        before = None
        watch, stalled = StallWatch(name), False
        while True:
            look = self._execute_module(module_name=LOOK, module_args={"name": name}, task_vars=task_vars)
            look["time"] = time.monotonic()
            if look.get("failed") or look.get("unreachable"):
                return look
            if look["progress"] != "unknown":
                samples.append(progress.sample(args.get("destination_host"), look, before))
                if "failure" in look and self._moves():
                    return {"failed": True, "msg": look["failure"]}
                if self._is_done(look):
                    return None
                Display().display(self._line(look, before))
                before = look
                stall = watch.see(look) if self._moves() else None
                if stall and args.get("on_stall") == "fail":
                    return self._give_up(task_vars, stall)
                if stall and not stalled:
                    stalled = True
                    Display().warning(stall)
            if time.monotonic() >= deadline:
                return {"failed": True, "msg": self._late(before, args.get("timeout", TIMEOUT)), "last": before}
            time.sleep(max(0.0, min(interval, deadline - time.monotonic())))

    def _give_up(self, task_vars, stall):
        """Cancel it; what the task returns, or None where it got through just then."""
        name, destination = self._task.args["name"], self._task.args["destination_host"]
        cancelled = self._execute_module(
            module_name=CANCEL, module_args={"name": name, "destination_host": destination}, task_vars=task_vars
        )
        if cancelled.get("failed") or cancelled.get("unreachable"):
            return cancelled
        if cancelled["progress"] == "completed":
            return None
        return {"failed": True, "msg": relocation.describe_stall(name, cancelled["progress"], stall)}

    def _end(self, task_vars, begun):
        """What the module tells in the end, with what it did in the beginning."""
        end = self._module(task_vars, wait=True)
        if end.get("failed") or end.get("unreachable"):
            return end
        return {**end, **{key: begun[key] for key in ("changed", "actions", "diff")}}

    def _moves(self):
        return "destination_host" in self._task.args

    def _is_done(self, look):
        if self._moves():
            return look["progress"] == "completed"
        return placement.is_settled(look["memory"])

    def _line(self, look, before):
        args = self._task.args
        if self._moves():
            return progress.moving(args["name"], args["destination_host"], look, before)
        return progress.rebalancing(args["name"], look, before)

    def _late(self, look, timeout):
        if look is None:
            return "the QEMU of VM {} has not answered in {} s; what was begun goes on".format(
                self._task.args["name"], timeout
            )
        if self._moves():
            return relocation.late(self._task.args["name"], look, timeout)
        return rebalance.late(self._task.args["name"], look["memory"], timeout)
