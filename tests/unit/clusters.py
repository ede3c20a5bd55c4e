# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as host_info describes them, with VMs and their sessions."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils.sizes import GIB, MIB

NAMES = [f"host-{number}" for number in range(1, 7)]


def make_host(number, memory=4 * GIB, capacity=4 * GIB):
    """A host as host_info describes it."""
    return {
        "address": f"198.18.0.{number}",
        "memserver_port": 4770,
        "userfaultfd": {"available": True, "move": True, "features": 0x1FFFF, "reason": None},
        "memory": {"total": memory, "available": memory},
        "kvm": False,
        "qemu": {"smemv": True, "reason": None},
        "memserver": {"running": True, "reason": None, "capacity": capacity, "reserved": 0, "used": 0,
                      "huge_pages": False, "sessions": []},
        "maintenance": None,
        "vms": [],
    }


def cluster(count=6, **settings):
    """The first hosts of NAMES, alike."""
    return {name: make_host(number, **settings) for number, name in enumerate(NAMES[:count], 1)}


def put(hosts, name, main, limit=None, sub_hosts=(), total=2 * GIB, **settings):
    """A VM that runs on a host, with its sessions where its pages are; what they take is taken."""
    shares = {host: (total - limit // 16 * 15) // len(sub_hosts) // MIB * MIB + MIB for host in sub_hosts}
    memory = {
        "state": "split" if sub_hosts else "whole",
        "total": total,
        "limit": limit or 0,
        "resident": limit or total,
        "rebalancing": False,
        "rebalance_remaining": 0,
        "blocked": [],
        "sub_hosts": [
            {"name": host, "host": hosts[host]["address"], "port": 4770, "share": share, "remote": share // 2,
             "leaving": False, "connected": True}
            for host, share in shares.items()
        ],
    }  # fmt: skip
    machine = {
        "name": name, "state": "running", "adopted": True, "config": {"vcpus": 1, "accel": "tcg"},
        "qemu": {"version": "10"}, "memory": memory, "migration": {}, "relocation": None, **settings,
    }  # fmt: skip
    hosts[main]["vms"].append(machine)
    hosts[main]["memory"]["available"] -= limit or total
    for host, share in shares.items():
        memserver = hosts[host]["memserver"]
        memserver["reserved"] += share
        memserver["used"] += share
        memserver["sessions"].append({"id": "00" * 16, "name": name, "reserved": share})
        hosts[host]["memory"]["available"] -= share
    return machine
