# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host runs a VM, by what all hosts say. Pure."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils import relocation
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.request import REQUEST


def machines(name, hosts):
    """{host: its VM of that name}, of the hosts that have one."""
    return {
        host: machine
        for host, info in sorted(hosts.items())
        for machine in info.get("vms", [])
        if machine["name"] == name
    }


def is_moving(machine):
    """Whether the VM is being migrated from here."""
    status = (machine["migration"] or {}).get("status")
    return machine["state"] not in ("incoming", "moved") and status in relocation.UNDER_WAY


def runs(machine):
    """Whether this is where the VM is: it runs, or is paused for the last step of a migration from here."""
    return machine["state"] == "running" or is_moving(machine)


def source(name, found, hosts):
    """The one host that runs the VM.

    :param found: as machines() gives it.
    :raises Refused: where none does, or more than one.
    """
    running = [host for host, machine in found.items() if runs(machine)]
    if len(running) == 1:
        return running[0]
    if running:
        raise Refused((host, f"VM {name} runs here, and on another host too") for host in running)
    if found:
        raise Refused(
            (
                host,
                f"VM {name} is {machine['state']} here, and runs on no host: the journal of smemv-vm-{name}.service"
                " there says why",
            )
            for host, machine in found.items()
        )
    silent = [host for host, info in sorted(hosts.items()) if "unreachable" in info]
    asked = [host for host in sorted(hosts) if host not in silent]
    reasons = [(REQUEST, "no host has a VM {} (asked: {})".format(name, ", ".join(asked) or "none"))]
    raise Refused(reasons + [(host, "cannot be reached: {}".format(hosts[host]["unreachable"])) for host in silent])
