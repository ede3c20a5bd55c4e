# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses what a request leaves open: the main host, how much memory stays there, the sub-hosts. Pure.

What requirements.py has against a host keeps it out. Of the hosts that are left each gets a limit:

1. the one that is asked for; else the one that the VM has, if it is split already and the host has the room;
2. else what the host has free less an eighth of it, which it keeps for itself, and at most 15/16 of the VM: a split VM
   is asked for, and what is over eviction would send away ahead of need;
3. but no less than the VM can work with, nor than the sub-hosts leave to it. For this the host gives its eighth too.

The main host is then the first by these questions, each only asked where the ones before do not tell:

1. Does the VM run there already? Then only its memory is placed anew.
2. Is it expected there, by a run that was cut off before the migration began?
3. How much of the VM can be there? In sixteenths of the VM: less is not worth a sub-host more or a slower link.
4. Does it hold no pages of the VM? One that does has these to give away first.
5. How few sub-hosts hold the rest?
6. How fast is its link?
7. How much memory has it free?
8. Its name.

The sub-hosts that a split VM has stay, where nothing else is asked for; sub_hosts.py chooses the others. The host that
a VM leaves is to be free of it, and holds pages only where there is no other way.
"""

from __future__ import annotations

import contextlib
from collections import namedtuple

from ansible_collections.smemv.kvm.plugins.module_utils import layout, placement, requirements
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import MIB, PAGE, format_size, round_size
from ansible_collections.smemv.kvm.plugins.module_utils.sub_hosts import SubHosts

# Local memory is compared in so many parts of the VM.
STEPS = 16
# The main host keeps one of so many parts of its free memory for itself, if it can.
SPARE = 8

# What tells two main hosts apart, in the order of the questions above; "{}" is the next best.
_WHY = (
    "it runs there already",
    "it is expected there already",
    "more of its memory can be there than on {}",
    "it has no pages there, as it has on {}",
    "it wants fewer sub-hosts there than on {}",
    "its link is faster than that of {}",
    "it has more memory free than {}",
    "it comes before {} by name",
)

# A host that can run the VM, and its place among them.
_MainHost = namedtuple("_MainHost", "name rank limit")
# Bytes that are to be resident there, the least that would do, and why it is that many.
_Limit = namedtuple("_Limit", "size lowest why")


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
        return SubHosts(
            room,
            [name for name in keep if name in room],
            {name: _speed(self._info(name)) for name in room},
            {name: self._info(name).get("failure_domain") for name in room},
        )

    def _main_hosts(self, names, sub_hosts):
        """Those of these hosts that can run the VM."""
        moving = requirements.of_rest(self._source, self._machine)
        moving += requirements.of_present_sub_hosts(self._hosts, self._machine, True)
        if set(names) - {self._source}:
            self._left_out += [(host, None, reason) for host, reason in moving]
        mains = []
        for name in names:
            missing = self._against(name)
            limit = None
            if not missing and not self._whole:
                limit, missing = self._limit(name, sub_hosts)
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
        """(a _Limit for a host, [what is missing])."""
        total, room = self._memory["total"], sub_hosts.total(name)
        least = requirements.least_resident(self._machine)
        lowest = max(least, layout.least_limit(total, room))
        most, preferred = self._most(name)
        asked, now = self._wanted.get("main_memory"), self._now["main_memory"]
        if asked is not None:
            if lowest <= asked:
                return _Limit(asked, asked, None), []
            most = asked
        elif now is not None and lowest <= now < total and (now <= most or name == self._source):
            return _Limit(now, lowest, "as before"), []
        elif lowest <= most:
            return self._between(preferred, lowest, most), []
        if most < least:
            return None, [(name, self._too_little(name, least))]
        self._short_of_room = True
        need = layout.remote_need(total, most)
        return None, [
            (
                name,
                f"can have no more than {round_size(most)} of VM {self._name}, which leaves {round_size(need)} to"
                f" sub-hosts: those have room for {round_size(room)}",
            )
        ]

    def _most(self, name):
        """(bytes that may be resident on a host, what it can spare well), as the VM's limit there."""
        info = self._info(name)
        available = info["memory"]["available"]
        if name != self._source:
            most = requirements.most_resident(name, info, self._machine)
            taken = 0
        else:
            taken = self._memory["resident"]
            most = taken if info["maintenance"] is not None else taken + available
        return min(most, self._memory["total"] - 1) // PAGE * PAGE, taken + available - available // SPARE

    def _between(self, preferred, lowest, most):
        """The limit that is best, of ``lowest`` to ``most``."""
        split = self._memory["total"] // STEPS * (STEPS - 1)
        size = min(preferred, split, most) // MIB * MIB
        if size < lowest:
            why = "less leaves more to the sub-hosts than they have room for"
            if lowest == requirements.least_resident(self._machine):
                why = f"VM {self._name} cannot work with less"
            return _Limit(min(-(-lowest // MIB) * MIB, most), lowest, why)
        if size == split // MIB * MIB:
            return _Limit(size, lowest, f"a split VM has no more than {STEPS - 1}/{STEPS} there")
        return _Limit(size, lowest, "what the host has free, less what it wants for itself")

    def _too_little(self, name, least):
        info = self._info(name)
        beside = requirements.beside_resident(name, self._machine) if name != self._source else 0
        return "has {} of memory free, and the {} that VM {} can work with and QEMU itself want {}".format(
            round_size(info["memory"]["available"]), format_size(least), self._name, round_size(least + beside)
        )

    def _rank(self, name, limit, sub_hosts):
        """Answers to the questions above; the smallest is the best."""
        info, total = self._info(name), self._memory["total"]
        expected = any(other["name"] == self._name and not other["adopted"] for other in info["vms"])
        return (
            name != self._source,
            name == self._source or not expected,
            -(limit.size * STEPS // total) if limit else 0,
            name in self._present,
            sub_hosts.count(layout.remote_need(total, limit.size), name) if limit else 0,
            -_speed(info),
            -info["memory"]["available"],
            name,
        )

    def _placed(self, main, sub_hosts):
        """(limit, names of the sub-hosts) with that main host, so that no sub-host would be left without a page."""
        possible = [(main.limit.size, sub_hosts)]
        if "sub_hosts" in self._wanted:
            # What sub-hosts have to hold is most where least is on the main host.
            possible.append((main.limit.lowest, sub_hosts))
        else:
            # Of the fewest sub-hosts that have the room none can be done without.
            possible.append((main.limit.size, sub_hosts.without_kept()))
        for limit, some in possible:
            names = some.choose(layout.remote_need(self._memory["total"], limit), main.name)
            try:
                requirements.shares(names, self._hosts, self._machine, limit)
            except Refused as refused:
                reasons = refused.reasons
            else:
                return limit, names
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
                reasons.append("{} held pages of it before".format(", ".join(kept)))
            if new:
                reasons.append("{}: no fewer have room for the rest".format(", ".join(new)))
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
