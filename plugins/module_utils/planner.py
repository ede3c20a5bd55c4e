# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses what a request leaves open: the main host, how much memory stays there, the sub-hosts. Pure.

What requirements.py has against a host keeps it out, and main_limit.py says how much of the VM each of the others is to
have. The main host is then the first by these questions, each only asked where the ones before do not tell:

1. Does the VM run there already? Then only its memory is placed anew.
2. Is it expected there, by a run that was cut off before the migration began?
3. How much of the VM can be there? Less than a sixteenth of the VM is not worth a sub-host more or a slower link.
4. Does it hold no pages of the VM? One that does has these to give away first.
5. Is there room on sub-hosts for all of the VM? Until it has that it cannot move on, nor back.
6. How few sub-hosts have that room, or where nobody has it the room for the rest?
7. How fast is its link?
8. How much memory has it free? In sixteenths of the VM as well: a plan is not to be another one at every look.
9. Its name.

The sub-hosts that a split VM has stay, where nothing else is asked for; sub_hosts.py chooses the others. The host that
a VM leaves is to be free of it, and holds pages only where there is no other way.
"""

from __future__ import annotations

import contextlib
from collections import namedtuple

from ansible_collections.smemv.kvm.plugins.module_utils import layout, main_limit, placement, requirements
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import format_size, round_size
from ansible_collections.smemv.kvm.plugins.module_utils.sub_hosts import SubHosts
from ansible_collections.smemv.kvm.plugins.module_utils.twin_sub_hosts import TwinSubHosts

# Memory is compared in so many parts of the VM.
STEPS = 16
# What tells two main hosts apart, in the order of the questions above; "{}" is the next best.
_WHY = (
    "it runs there already",
    "it is expected there already",
    "more of its memory can be there than on {}",
    "it has no pages there, as it has on {}",
    "beside it others have room for all of the VM, as they have not beside {}",
    "it wants fewer sub-hosts there than on {}",
    "its link is faster than that of {}",
    "it has more memory free than {}",
    "it comes before {} by name",
)

# A host that can run the VM, and its place among them.
_MainHost = namedtuple("_MainHost", "name rank limit")


def choose(wanted, source, machine, hosts, kvm_hosts, memservers):
    """What is to be asked for, whole.

    :param wanted: what is given of {destination_host, main_memory (bytes, None for all), sub_hosts: [name]}. Without
        main_memory the VM is to be split.
    :param source: the host that runs the VM.
    :param machine: the VM, as that host describes it.
    :param hosts: as for preflight.plan().
    :param kvm_hosts, memservers: names of the hosts that may be chosen for each.
    :returns: (the request as ``wanted``, with every key; [why, in sentences]).
    :raises Refused: where no choice would do: for each host with what is missing there.
    """
    if len(wanted) == 3:
        return dict(wanted), []
    if "sub_hosts" not in wanted and source in memservers:
        others = [name for name in memservers if name != source]
        with contextlib.suppress(Refused):
            return _Planner(wanted, source, machine, hosts).choose(kvm_hosts, others)
    return _Planner(wanted, source, machine, hosts).choose(kvm_hosts, memservers)


class _Planner:
    """The choice for one VM."""

    def __init__(self, wanted, source, machine, hosts):
        self._wanted = wanted
        self._source = source
        self._machine = machine
        self._name = machine["name"]
        self._memory = machine["memory"]
        self._hosts = hosts
        self._present = requirements.present_sub_hosts(self._memory)
        self._now = placement.current(self._memory)
        self._whole = "main_memory" in wanted and wanted["main_memory"] is None
        # (host, what it cannot be, what is missing there), as they are found.
        self._left_out = []
        self._short_of_room = False

    def choose(self, kvm_hosts, memservers):
        """As the function of this name."""
        in_the_way = requirements.of_source(self._source, self._machine, self._wanted.get("main_memory", 0))
        if in_the_way:
            raise Refused(in_the_way)
        sub_hosts = self._sub_hosts(self._wanted.get("sub_hosts", memservers))
        if any(name not in sub_hosts.room for name in self._wanted.get("sub_hosts", ())):
            raise Refused(self._refusals(sub_hosts))
        candidates = [self._wanted["destination_host"]] if "destination_host" in self._wanted else sorted(kvm_hosts)
        mains = self._main_hosts(candidates, sub_hosts)
        if not mains:
            raise Refused(self._refusals(sub_hosts))
        mains.sort(key=lambda main: main.rank)
        limit, names = (None, []) if self._whole else self._placed(mains[0], sub_hosts)
        target = {"destination_host": mains[0].name, "main_memory": limit, "sub_hosts": names}
        return target, self._reasons(mains, target)

    def _info(self, name):
        return self._hosts.get(name, {"unreachable": "it was not asked"})

    def _sub_hosts(self, names):
        """Those of these hosts that can hold pages of the VM."""
        room = {}
        for name in sorted(names):
            missing, size = requirements.of_sub_host(self._info(name), self._present.get(name))
            self._left_out += [(name, "sub-host", reason) for reason in missing]
            if not missing:
                room[name] = size
        keep = self._wanted.get("sub_hosts", self._now["sub_hosts"])
        keep = [name for name in keep if name in room]
        speed = {name: _speed(self._info(name)) for name in room}
        if placement.copies(self._memory) > 1:
            domain = {name: requirements.failure_domain(name, self._info(name)) for name in room}
            return TwinSubHosts(room, keep, speed, domain)
        return SubHosts(room, keep, speed, {name: self._info(name).get("failure_domain") for name in room})

    def _main_hosts(self, names, sub_hosts):
        """Those of these hosts that can run the VM."""
        moving = requirements.of_rest(self._source, self._machine)
        moving += requirements.of_present_sub_hosts(self._hosts, self._machine, True)
        if set(names) - {self._source}:
            self._left_out += [(host, None, reason) for host, reason in moving]
        mains = []
        for name in names:
            missing, limit = self._against(name), None
            if not missing and not self._whole:
                try:
                    limit = self._limit(name, sub_hosts)
                except Refused as refused:
                    missing = refused.reasons
                    self._short_of_room |= isinstance(refused, main_limit.NoRoom)
            self._left_out += [(host, "main host", reason) for host, reason in missing]
            if not missing and (name == self._source or not moving):
                mains.append(_MainHost(name, self._rank(name, limit, sub_hosts), limit))
        return mains

    def _against(self, name):
        """What a host has not that is to run the VM, with the limit that is asked for, or whatever it will be."""
        info, limit = self._info(name), self._wanted.get("main_memory")
        if name in self._wanted.get("sub_hosts", ()):
            return [(name, "is to be a sub-host")]
        if name == self._source:
            missing = self._against_staying()
            if not missing and "main_memory" in self._wanted:
                missing = requirements.of_main_host(name, info, self._machine, limit)
        elif "main_memory" in self._wanted:
            missing = requirements.of_destination(name, info, self._machine, limit)
        else:
            missing = requirements.of_vm_host(name, info, self._machine)
        return missing + (requirements.of_limit(name, self._machine, limit) if limit is not None else [])

    def _against_staying(self):
        """What keeps the memory of the VM from being placed anew where it runs."""
        if not placement.is_split(self._memory):
            return [(self._source, f"runs VM {self._name}: a whole VM is split only by a move to another host")]
        if self._now["main_memory"] is None and not self._whole:
            return requirements.of_rest(self._source, self._machine)
        return requirements.of_present_sub_hosts(self._hosts, self._machine, False)

    def _limit(self, name, sub_hosts):
        asked = self._wanted.get("main_memory")
        room, moves = sub_hosts.total(name), name != self._source
        return main_limit.choose(name, self._info(name), self._machine, asked, room, moves)

    def _rank(self, name, limit, sub_hosts):
        """Answers to the questions above; the smallest is the best."""
        info, total = self._info(name), self._memory["total"]
        room = self._room_wanted(name, limit.size, sub_hosts) if limit else total
        expected = any(other["name"] == self._name and not other["adopted"] for other in info["vms"])
        return (
            name != self._source,
            name == self._source or not expected,
            -(limit.size * STEPS // total) if limit else 0,
            name in self._present,
            room < total,
            sub_hosts.count(room, name) if limit else 0,
            -_speed(info),
            -(info["memory"]["available"] * STEPS // total),
            name,
        )

    def _room_wanted(self, name, limit, sub_hosts):
        """Bytes that the sub-hosts are to have room for: all of the VM, if there is so much, or the rest of it."""
        total = self._memory["total"]
        return total if sub_hosts.total(name) >= total else layout.remote_need(total, limit)

    def _placed(self, main, sub_hosts):
        """(limit, names of the sub-hosts) with that main host, so that no sub-host would be left without a page."""
        limit, lowest = main.limit.size, main.limit.lowest
        room, least = self._room_wanted(main.name, limit, sub_hosts), layout.remote_need(self._memory["total"], limit)
        if "sub_hosts" in self._wanted:
            # What sub-hosts have to hold is most where least is on the main host.
            possible = [(limit, sub_hosts, room), (lowest, sub_hosts, room)]
        else:
            # Of the fewest that have the room for the rest, kept or not, none can be done without.
            possible = [(limit, sub_hosts, room), (limit, sub_hosts.without_kept(), least)]
        for size, some, wanted in possible:
            names = some.choose(wanted, main.name)
            try:
                requirements.shares(names, self._hosts, self._machine, size)
            except Refused as refused:
                reasons = refused.reasons
            else:
                return size, names
        raise Refused(reasons)

    def _reasons(self, mains, target):
        """Why it is this plan, in sentences."""
        main = mains[0]
        reasons = []
        if "destination_host" not in self._wanted:
            why = f"no other host can run VM {self._name}"
            if len(mains) > 1:
                best, next_best = main.rank, mains[1].rank
                question = next(place for place, answer in enumerate(best) if answer != next_best[place])
                why = _WHY[question].format(mains[1].name)
            reasons.append(f"{main.name} is the main host: {why}")
        if "main_memory" not in self._wanted:
            limit = target["main_memory"]
            why = main.limit.why if limit == main.limit.size else "with more a sub-host would hold nothing of it"
            reasons.append(f"main_memory is {format_size(limit)}: {why}")
            if self._now["main_memory"] is None and self._fits_whole(main.name):
                reasons.append(
                    f"{main.name} has room for all of VM {self._name}: consolidate_vm.yml would bring it there whole"
                )
        if "sub_hosts" not in self._wanted:
            kept = [name for name in target["sub_hosts"] if name in self._now["sub_hosts"]]
            new = [name for name in target["sub_hosts"] if name not in kept]
            if kept:
                reasons.append("pages of it are on {} already".format(", ".join(kept)))
            if new:
                reasons.append("the rest is for {}: no fewer have the room".format(", ".join(new)))
        return reasons + _sentences(self._left_out)

    def _fits_whole(self, name):
        return not requirements.of_destination(name, self._info(name), self._machine, None)

    def _refusals(self, sub_hosts):
        """(host, what is missing there), each once."""
        room_matters = self._short_of_room or "sub_hosts" in self._wanted
        reasons = [(host, reason) for host, what, reason in self._left_out if what != "sub-host" or room_matters]
        if self._short_of_room:
            reasons += [
                (name, f"its memserver has room for {round_size(size)}") for name, size in sub_hosts.room.items()
            ]
        return list(dict.fromkeys(reasons))


def _speed(info):
    """Mbit/s of a host's link; 0 where it cannot be told."""
    return (info.get("link") or {}).get("speed") or 0


def _sentences(left_out):
    """What each host that is left out cannot be, and why."""
    roles = {}
    for host, what, reason in left_out:
        roles.setdefault((host, reason), []).append(what)
    return [
        "{} cannot be a {}: {}".format(host, " or ".join(whats), reason) if None not in whats else f"{host}: {reason}"
        for (host, reason), whats in sorted(roles.items())
    ]
