# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses how much of a VM's memory may be on one main host, where it is to be split. Pure.

1. As much as is asked for; else as much as now, if the VM is split already and the host has the room;
2. else what the host has free less an eighth of it, which it keeps for itself, and at most 15/16 of the VM: a sub-host
   would be there for next to nothing otherwise;
3. but no less than the VM can work with, nor than the sub-hosts leave to it. For this the host gives its eighth too.
"""

from __future__ import annotations

from collections import namedtuple

from ansible_collections.smemv.kvm.plugins.module_utils import layout, placement, requirements
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import MIB, PAGE, format_size, round_size

# The main host keeps one of so many parts of its free memory for itself, if it can.
SPARE = 8
# And the sub-hosts get at least one of so many of the VM.
PARTS = 16

# Bytes that may be resident, the least that would do, and why it is that many.
Limit = namedtuple("Limit", "size lowest why")


class NoRoom(Refused):
    """The sub-hosts have not the room for what cannot be on the main host."""


def choose(host, info, machine, asked, room, moves):
    """The Limit of a VM on a host.

    :param info: of the host, as host_info describes it.
    :param machine: the VM, as the host that runs it now describes it.
    :param asked: bytes that are asked for, which the host has; None where it is open.
    :param room: bytes that sub-hosts may hold together, as often as the VM's pages are to be kept.
    :param moves: whether the VM is to be migrated there.
    :raises Refused: where the host has too little for the VM; NoRoom.
    """
    total, now = machine["memory"]["total"], placement.current(machine["memory"])["main_memory"]
    least = requirements.least_resident(machine)
    lowest = max(least, layout.least_limit(total, room))
    most, preferred = _possible(host, info, machine, moves)
    if asked is not None:
        most = asked
        if lowest <= asked:
            return Limit(asked, asked, None)
    elif now is not None and lowest <= now < total and (now <= most or not moves):
        return Limit(now, lowest, "as before")
    elif lowest <= most:
        return _between(machine, preferred, lowest, most)
    if most < least:
        raise Refused([(host, _too_little(host, info, machine, least, moves))])
    left = layout.remote_need(total, most)
    twice = " of it twice, in different failure domains" if placement.copies(machine["memory"]) > 1 else ""
    raise NoRoom(
        [
            (
                host,
                f"can have no more than {round_size(most)} of VM {machine['name']}, which leaves {round_size(left)} to"
                f" sub-hosts: those have room for {round_size(room)}{twice}",
            )
        ]
    )


def _possible(host, info, machine, moves):
    """(bytes that may be resident at most, bytes that the host can spare well)."""
    memory, available = machine["memory"], info["memory"]["available"]
    taken = 0 if moves else memory["resident"]
    if moves:
        most = requirements.most_resident(host, info, machine)
    else:
        most = taken + (available if info["maintenance"] is None else 0)
    return min(most, memory["total"] - 1) // PAGE * PAGE, taken + available - available // SPARE


def _between(machine, preferred, lowest, most):
    """The best Limit from ``lowest`` to ``most``."""
    split = machine["memory"]["total"] // PARTS * (PARTS - 1) // MIB * MIB
    size = min(preferred // MIB * MIB, split, most // MIB * MIB)
    if size < lowest:
        why = "less leaves more to the sub-hosts than they have room for"
        if lowest == requirements.least_resident(machine):
            why = f"VM {machine['name']} cannot work with less"
        return Limit(min(-(-lowest // MIB) * MIB, most), lowest, why)
    if size == split:
        return Limit(size, lowest, f"a split VM has no more than {PARTS - 1}/{PARTS} there")
    return Limit(size, lowest, "what the host has free, less what it wants for itself")


def _too_little(host, info, machine, least, moves):
    beside = requirements.beside_resident(host, machine) if moves else 0
    return "has {} of memory free, and the {} that VM {} can work with and QEMU itself want {}".format(
        round_size(info["memory"]["available"]), format_size(least), machine["name"], round_size(least + beside)
    )
