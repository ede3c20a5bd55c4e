# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of a VM's memory goes to which sub-host. Pure: numbers in, numbers out."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import MIB, PAGE, page_up, round_size

# That a VM can have at a time, those that it leaves among them: one byte says where a page is.
MOST_SUB_HOSTS = 240


def remote_need(memory, main_limit):
    """Bytes that the sub-hosts have to hold together.

    A sixteenth of the main host's limit is left out of account there: eviction runs ahead of need, so that much
    of it is on its way out and wants room on the sub-hosts already.
    """
    return max(0, page_up(memory - main_limit // 16 * 15))


def least_limit(memory, room):
    """The smallest limit of the main host, in bytes, with which remote_need() is no more than ``room`` bytes."""
    # A page of the limit saves the sub-hosts 15/16 of a page, 3840 bytes.
    missing = memory - room // PAGE * PAGE
    return max(0, -(-missing // (PAGE // 16 * 15)) * PAGE)


def room_for(copies, room, domain):
    """Bytes of which that many copies fit, no two of them in one failure domain.

    :param copies: 1 or 2.
    :param room: {name: bytes}; what is over a whole page there does not count.
    :param domain: {name: its failure domain}.
    """
    pages = {name: max(0, size) // PAGE for name, size in room.items()}
    total = sum(pages.values())
    if copies == 1:
        return total * PAGE
    # What the largest domain has beyond all others can have no second copy.
    largest = max(_by_domain(pages, domain).values(), default=0)
    return min(total // 2, total - largest) * PAGE


def usable(need, copies, room, domain):
    """The room of each sub-host for that many copies of ``need`` bytes: a domain has one of each page at most."""
    if copies == 1:
        return dict(room)
    usable_room = {name: max(0, size) // PAGE * PAGE for name, size in room.items()}
    for each, size in _by_domain(usable_room, domain).items():
        if size > need:
            names = [name for name in room if domain[name] == each]
            usable_room.update(divide(need, {name: usable_room[name] for name in names}))
    return usable_room


def are_apart(need, shares, domain):
    """Whether two copies of ``need`` bytes fit into these shares without two of a page in one domain."""
    return all(size <= need for size in _by_domain(shares, domain).values())


def _by_domain(sizes, domain):
    sums = {}
    for name, size in sizes.items():
        sums[domain[name]] = sums.get(domain[name], 0) + size
    return sums


def divide(need, room):
    """Shares of ``need`` bytes, in proportion to what each sub-host has room for.

    :param need: bytes, a multiple of the page.
    :param room: {name: bytes}; what is over a whole page there does not count.
    :returns: {name: bytes}, multiples of the page, none larger than its room, together exactly ``need``.
    :raises Refused: with what each sub-host has, if it is not enough.
    """
    pages = {name: max(0, size) // PAGE for name, size in room.items()}
    total = sum(pages.values())
    wanted = need // PAGE
    if wanted > total:
        raise Refused(
            (
                name,
                f"its memserver has room for {round_size(count * PAGE)}, and {round_size(need)} are wanted of all"
                f" sub-hosts together, which have {round_size(total * PAGE)}",
            )
            for name, count in pages.items()
        )
    shares = {name: wanted * count // total if total else 0 for name, count in pages.items()}
    # Rounding down left fewer pages over than there are sub-hosts; each of these still has room for one.
    left = wanted - sum(shares.values())
    for name in sorted(pages, key=lambda name: (shares[name] - pages[name], name)):
        if left and shares[name] < pages[name]:
            shares[name] += 1
            left -= 1
    return {name: count * PAGE for name, count in shares.items()}


def reshape(need, shares, room):
    """Shares of ``need`` bytes for a VM that is split already, so that few of its pages have to move.

    What stays where it is keeps its share; new sub-hosts take the rest first.

    :param need: bytes, a multiple of the page.
    :param shares: {name: bytes} of the present sub-hosts that stay.
    :param room: {name: bytes} of all sub-hosts from now on: what each may hold of this VM, its present share included.
    :returns: as divide().
    :raises Refused: as divide().
    """
    anew = divide(need, room)
    new = {name: size for name, size in room.items() if name not in shares}
    left = need - sum(shares.values())
    if not new and left <= 0:
        return divide(need, shares)
    # A new sub-host is there to take pages over: where it would get next to nothing, all is divided again.
    if left < len(new) * MIB:
        return anew
    taken = divide(min(left, sum(size // PAGE * PAGE for size in new.values())), new)
    spare = {name: room[name] - share for name, share in shares.items()}
    more = divide(left - sum(taken.values()), spare)
    return dict({name: share + more[name] for name, share in shares.items()}, **taken)


def fits_in_parts(need, rooms):
    """Whether a VM that moves finds ``need`` bytes more on its present sub-hosts.

    QEMU asks each for an equal part of what is missing, and then again, in turn, for all that is missing still.

    :param rooms: bytes that each has left, in the VM's own order.
    """
    missing, rooms = need, list(rooms)
    for turn in range(2 * len(rooms)):
        index, left = turn % len(rooms), len(rooms) - turn
        part = page_up(-(-missing // left)) if left > 0 else missing
        if part <= rooms[index]:
            rooms[index] -= part
            missing = max(0, missing - part)
    return missing <= 0
