# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses the sub-hosts of one VM: as few as can be, of these the best. Pure."""

from __future__ import annotations

import bisect
import itertools

from ansible_collections.smemv.kvm.plugins.module_utils.layout import MOST_SUB_HOSTS
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import PAGE


class SubHosts:
    """The hosts that can hold pages of the VM.

    Those that are kept take part always. Of the others come as few as have the room for what is left, and of all sets
    of so many

    1. one whose slowest link is as fast as can be: the guest waits for the slowest;
    2. of these one in as many failure domains as can be, a host without one being a domain of its own: what is kept
       twice one day is to survive a domain;
    3. of these the hosts with the most room, and then by name.

    :param room: {name: bytes that the host may hold of the VM}.
    :param keep: names of those that take part always.
    :param speed: {name: Mbit/s of its link, 0 where it cannot be told}.
    :param domain: {name: its failure domain, or None}.
    """

    def __init__(self, room, keep, speed, domain):
        self.room = {name: size // PAGE * PAGE for name, size in room.items()}
        self._keep = list(keep)
        self._speed = speed
        self._domain = {name: (name, domain[name]) if domain[name] is None else domain[name] for name in room}
        self._others = sorted(set(room) - set(keep), key=lambda name: (-self.room[name], name))
        self._place = {name: place for place, name in enumerate(self._others)}
        # Room of the first so many of the others.
        self._sums = [0, *itertools.accumulate(self.room[name] for name in self._others)]

    def without_kept(self):
        """The same hosts, none of which takes part always."""
        return SubHosts(self.room, (), self._speed, self._domain)

    def total(self, without):
        """Bytes that they have room for but one, which need not be one of them: as many of them as a VM can have."""
        kept, _ = self._kept(0, without)
        most = MOST_SUB_HOSTS - len(kept)
        # Were it one of those, the next one would take its place.
        taken = self._place.get(without, most) < most
        others = self._sums[min(most + taken, len(self._others))] - (self.room[without] if taken else 0)
        return self._room_of(kept) + others

    def count(self, need, without):
        """How many choose() would give. For many main hosts this is asked of each, so it looks at few of them."""
        kept, left = self._kept(need, without)
        more = bisect.bisect_left(self._sums, left)
        if self._place.get(without, more) < more:
            more = bisect.bisect_left(self._sums, left + self.room[without]) - 1
        return len(kept) + more

    def choose(self, need, without):
        """Names of the sub-hosts with room for ``need`` bytes, which total() has to have.

        :param without: the host that is to run the VM.
        """
        kept, left = self._kept(need, without)
        more = self.count(need, without) - len(kept)
        others = [name for name in self._others if name != without]
        return kept + self._spread(self._fast(others, more, left), more, left, kept)

    def _kept(self, need, without):
        """(names of the kept ones, what is left to others)."""
        kept = [name for name in self._keep if name != without]
        return kept, max(0, need - sum(self.room[name] for name in kept))

    def _fast(self, names, count, left):
        """Those behind the fastest links, as long as ``count`` of them have the room."""
        for slowest in sorted({self._speed[name] for name in names}, reverse=True):
            fast = [name for name in names if self._speed[name] >= slowest]
            if self._room_of(fast[:count]) >= left:
                return fast
        return names

    def _spread(self, names, count, left, kept):
        """``count`` of them with the room, in as many failure domains as can be that the kept ones are not in."""
        seen = {self._domain[name] for name in kept}
        firsts = []
        for name in names:
            if self._domain[name] not in seen:
                seen.add(self._domain[name])
                firsts.append(name)
        for domains in range(min(count, len(firsts)), 0, -1):
            chosen = firsts[:domains]
            rest = set(chosen)
            chosen += [name for name in names if name not in rest][: count - domains]
            if self._room_of(chosen) >= left:
                return chosen
        return names[:count]

    def _room_of(self, names):
        return sum(self.room[name] for name in names)
