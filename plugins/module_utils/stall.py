# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a migration that is under way stalls. Pure.

It gains nothing between two looks where the guest dirtied nine tenths of what was sent, or more: so it would go on for
ever, or nearly so. Where that is so of every look for 30 seconds, it stalls. The dirty rate is QEMU's, of its last pass
over the memory, so the first pass, in which it knows of none, never stalls as long as anything is sent.
"""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils.progress import dirty_rate, sent_rate
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import round_size

SECONDS = 30
TENTHS = 9


class StallWatch:
    """Watches the migration of one VM.

    :param name: the VM's.
    """

    def __init__(self, name):
        self._name = name
        self._before = None
        self._gained = None

    def see(self, look):
        """Take one look more: a sentence where the migration stalls, else None.

        :param look: as for the progress' lines.
        """
        before, self._before = self._before, look
        if before is None or look["migration"].get("status") != "active":
            self._gained = look["time"]
            return None
        sent, dirty = sent_rate(before, look), dirty_rate(look)
        if dirty * 10 < sent * TENTHS:
            self._gained = look["time"]
        if look["time"] - self._gained < SECONDS:
            return None
        return _describe(self._name, sent, dirty)


def _describe(name, sent, dirty):
    if not sent:
        return f"the migration of VM {name} stalls: for {SECONDS} s nothing has been sent"
    return (
        f"the migration of VM {name} does not converge: for {SECONDS} s its guest has dirtied what could be sent,"
        f" {round_size(dirty)}/s of {round_size(sent)}/s; more bandwidth, a longer max_downtime or"
        " on_stall=throttle would end it"
    )
