# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses the sub-hosts of one VM whose pages are kept twice, in different failure domains. Pure."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils import layout


class TwinSubHosts:
    """As SubHosts, where room is what can be kept twice.

    Those that are kept take part always. Of the others come as few as have the room for what is left: the largest of
    each failure domain first, or else simply the largest. Of so many those whose slowest link is the fastest.

    :param room, keep, speed: as for SubHosts.
    :param domain: {name: its failure domain}.
    """

    def __init__(self, room, keep, speed, domain):
        self.room = room
        self._keep = list(keep)
        self._speed = speed
        self._domain = domain

    def without_kept(self):
        """The same hosts, none of which takes part always."""
        return TwinSubHosts(self.room, (), self._speed, self._domain)

    def total(self, without):
        """Bytes that they can keep twice but one, which need not be one of them: as many of them as a VM can have."""
        kept, others = self._parted(without)
        most = layout.MOST_SUB_HOSTS - len(kept)
        return max(self._holds(kept + order[:most]) for order in self._orders(others, kept))

    def count(self, need, without):
        """How many choose() would give."""
        return len(self.choose(need, without))

    def choose(self, need, without):
        """Names of sub-hosts that can keep ``need`` bytes twice, which total() has to have."""
        kept, others = self._parted(without)
        for count in range(len(others) + 1):
            for slowest in sorted({self._speed[name] for name in others}, reverse=True) or [0]:
                fast = [name for name in others if self._speed[name] >= slowest]
                for order in self._orders(fast, kept):
                    names = kept + order[:count]
                    if self._holds(names) >= need:
                        return names
        return kept + others

    def _parted(self, without):
        """(names of the kept ones, of the others)."""
        kept = [name for name in self._keep if name != without]
        return kept, [name for name in self.room if name != without and name not in kept]

    def _orders(self, names, kept):
        return self._domains_first(names, kept), self._largest_first(names)

    def _holds(self, names):
        return layout.room_for(2, {name: self.room[name] for name in names}, self._domain)

    def _largest_first(self, names):
        return sorted(names, key=lambda name: (-self.room[name], name))

    def _domains_first(self, names, kept):
        """The largest of each domain, then the second of each, and so on: what is kept counts."""
        turn = {}
        for name in kept:
            turn[self._domain[name]] = turn.get(self._domain[name], 0) + 1
        turns = {}
        for name in self._largest_first(names):
            turns[name] = turn.get(self._domain[name], 0)
            turn[self._domain[name]] = turns[name] + 1
        return sorted(names, key=lambda name: (turns[name], -self.room[name], name))
