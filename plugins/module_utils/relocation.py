# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The migration of a VM, at work on the host that it leaves.

What is under way is asked from QEMU every time, so a run that was cut off is found again by the next one.
"""

from __future__ import annotations

import contextlib

from ansible_collections.smemv.kvm.plugins.module_utils import placement, tls
from ansible_collections.smemv.kvm.plugins.module_utils.errors import (
    QmpCommandError,
    RelocationFailed,
    RelocationTimeout,
)
from ansible_collections.smemv.kvm.plugins.module_utils.qmp import snake_case
from ansible_collections.smemv.kvm.plugins.module_utils.stall import StallWatch
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import query_smemv
from ansible_collections.smemv.kvm.plugins.module_utils.waiting import Waiter

UNDER_WAY = frozenset(
    (
        "setup",
        "active",
        "pre-switchover",
        "device",
        "wait-unplug",
        "cancelling",
        "postcopy-active",
        "postcopy-paused",
        "postcopy-recover",
        "postcopy-recover-setup",
    )
)


def progress(run_state, status):
    """How far a migration is: none, under_way, completed, failed, cancelled or fenced. Pure.

    A VM that came here by a migration still reports that one's ``completed``; that it left again shows in its
    run state alone. It is fenced where its migration failed at the end, and it may run at the destination. While the
    memserver that decides cannot be asked, the VM is neither: it waits.

    :param run_state: of query-status.
    :param status: of query-migrate, or None.
    """
    if run_state == "postmigrate":
        return "fenced" if status in ("failed", "cancelled") else "completed"
    if status in UNDER_WAY or run_state == "finish-migrate":
        return "under_way"
    if status in ("failed", "cancelled"):
        return status
    return "none"


def observe(client):
    """One look at the VM: {run_state, progress, migration, memory}."""
    run_state = client.execute("query-status")["status"]
    migration = snake_case(client.execute("query-migrate"))
    return {
        "run_state": run_state,
        "progress": progress(run_state, migration.get("status")),
        "migration": migration,
        "memory": query_smemv(client),
    }


def same_target(one, other):
    """Whether two relocations lead to the same main host, limit and sub-hosts. Pure."""
    keys = ("destination_host", "main_memory")
    return all(one[key] == other[key] for key in keys) and _names(one) == _names(other)


def _names(target):
    return sorted(sub_host["name"] for sub_host in target["sub_hosts"])


class Relocation:
    """The relocation of one VM away from this host.

    :param connect: () -> a QmpClient, to be entered; each use is short.
    :param name: the VM's.
    :param waiter: a Waiter; for tests.
    """

    def __init__(self, connect, name, waiter=None):
        self._connect = connect
        self._name = name
        self._waiter = waiter or Waiter(name)

    def observe(self):
        """One look at the VM."""
        with self._connect() as client:
            return observe(client)

    def start(self, target):
        """Begin the migration.

        :param target: {destination_address, destination_port, main_memory (bytes; None: all), sub_hosts: [{name,
            address, port, share (bytes), failure_domain (or None)}], policy and sample_time (seconds; None: QEMU's
            own), both where a VM is split, bandwidth (bytes a second, 0: no limit), max_downtime (ms), on_stall
            (throttle: QEMU slows the guest down), tls (bool), seal, replicas and connections (where a VM is split)}.
        """
        with self._connect() as client:
            client.execute(
                "migrate-set-capabilities",
                capabilities=[
                    {"capability": "return-path", "state": True},
                    {"capability": "auto-converge", "state": target["on_stall"] == "throttle"},
                ],
            )
            client.execute(
                "migrate-set-parameters", max_bandwidth=target["bandwidth"], downtime_limit=target["max_downtime"]
            )
            aimed = self._set_target(client, target, tls.be_source(client, target["tls"]))
            try:
                client.execute(
                    "migrate", uri="tcp:{}:{}".format(target["destination_address"], target["destination_port"])
                )
            except QmpCommandError:
                if aimed:
                    client.execute("smemv-clear-target")
                raise

    def _set_target(self, client, target, credentials):
        """Say where the pages go; a whole VM that stays whole needs none said. Whether it was."""
        memory = query_smemv(client)
        if target["main_memory"] is None and not (memory and placement.is_split(memory)):
            return False
        replicas = max(target.get("replicas", 1), placement.copies(memory))
        policy = {"policy": target["policy"]} if target.get("policy") else {}
        if target.get("sample_time") is not None:
            policy["sample_time"] = 1000 * target["sample_time"]
        client.execute(
            "smemv-set-target",
            name=self._name,
            main_limit=memory["total"] if target["main_memory"] is None else target["main_memory"],
            sub_hosts=placement.as_qmp(target["sub_hosts"], replicas),
            **policy,
            **({"seal": True} if target.get("seal") else {}),
            **({"replicas": replicas} if replicas > 1 else {}),
            **({"connections": target["connections"]} if target.get("connections", 1) > 1 else {}),
            **credentials,
        )
        return True

    def wait(self, timeout, interval, stalled):
        """Look every ``interval`` seconds until the migration ends; the last look.

        :param stalled: (sentence) -> None, called at each look at which the migration stalls. What it raises ends the
            wait; the migration goes on.
        :raises RelocationFailed: it failed or was cancelled, or QEMU is gone.
        :raises RelocationTimeout: after ``timeout`` seconds; the migration goes on.
        """
        watch = StallWatch(self._name)

        def done(last):
            if last["progress"] not in ("completed", "under_way"):
                raise RelocationFailed(describe_failure(self._name, last))
            stall = watch.see(dict(last, time=self._waiter.clock()))
            if stall and last["progress"] == "under_way":
                stalled(stall)
            return last["progress"] == "completed"

        return self._waiter.until(self.observe, done, lambda last: late(self._name, last, timeout), timeout, interval)

    def cancel(self, timeout=30.0):
        """Cancel what is under way, if anything is, and wait until it has ended; the last look."""
        last = self.observe()
        if last["progress"] == "under_way":
            with self._connect() as client:
                client.execute("migrate_cancel")
            last = self._waiter.until(
                self.observe,
                lambda last: last["progress"] != "under_way",
                lambda last: f"the migration of VM {self._name} cannot be cancelled{_undecided(last)}",
                timeout,
                0.1,
            )
        if last["progress"] not in ("completed", "fenced") and last["memory"] is not None:
            with self._connect() as client:
                client.execute("smemv-clear-target")
            # What was reserved for the move is given back. If that has to wait for a memserver, nobody else has to.
            with contextlib.suppress(RelocationTimeout):
                last = self._waiter.until(
                    self.observe, lambda last: placement.is_settled(last["memory"]), lambda _last: "", timeout, 0.1
                )
        return last


def late(name, last, timeout):
    """A sentence for a migration that is not done after ``timeout`` seconds. Pure."""
    return "the migration of VM {} is still {} after {} s{}; it goes on, and the same task waits on".format(
        name, last["migration"].get("status", "about to begin"), timeout, _undecided(last)
    )


def _undecided(last):
    """What to add for a VM that waits to learn whether it runs at the destination. Pure."""
    if last["run_state"] != "finish-migrate" or last["migration"].get("status") != "cancelling":
        return ""
    unreachable = [host["name"] for host in (last["memory"] or {}).get("sub_hosts", ()) if not host["connected"]]
    return ", as a memserver has to say first whether the VM runs at the destination; out of reach: {}".format(
        ", ".join(unreachable) or "none"
    )


def describe_failure(name, last):
    """A sentence for a migration that did not end well. Pure."""
    reason = last["migration"].get("error_desc") or "QEMU gives no reason"
    if last["progress"] == "cancelled":
        return f"the migration of VM {name} was cancelled"
    if last["progress"] == "fenced":
        return f"VM {name} is paused here, as it may run at the destination: {reason}"
    return f"the migration of VM {name} failed: {reason}"


def describe_stall(name, progress, stall):
    """A sentence for a migration that was cancelled since it stalled; ``progress`` is what cancelling it left. Pure."""
    if progress == "fenced":
        return f"{stall}; it was cancelled too late, and VM {name} is paused here, as it may run at the destination"
    return f"{stall}; it was cancelled"


def figures(last):
    """What a finished migration took, from its last look: {status, duration, downtime_ms, ...}. Pure."""
    migration = last["migration"]
    return {
        "status": migration.get("status"),
        "duration": migration.get("total_time", 0) / 1000.0,
        "downtime_ms": migration.get("downtime"),
        "transferred": migration.get("ram", {}).get("transferred"),
    }
