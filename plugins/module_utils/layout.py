# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of a VM's memory goes to which sub-host. Pure: numbers in, numbers out."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import PAGE, page_up, round_size


def remote_need(memory, main_limit):
    """Bytes that the sub-hosts have to hold together.

    A sixteenth of the main host's limit is left out of account there: eviction runs ahead of need, so that much
    of it is on its way out and wants room on the sub-hosts already.
    """
    return max(0, page_up(memory - main_limit // 16 * 15))


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
