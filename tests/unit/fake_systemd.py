# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for systemctl and journalctl: keeps which units are active, and runs a test's own function at a start."""

from __future__ import annotations


class FakeSystemd:
    """A ``run_command`` for VmHost.

    :ivar active: names of units that are active.
    :ivar calls: words of every systemctl call but is-active and reset-failed.
    :ivar on_start: called with the unit's name when it is started; may leave it inactive.
    :ivar on_stop: called with the unit's name when it was stopped.
    """

    def __init__(self):
        self.active = set()
        self.calls = []
        self.on_start = self.active.add
        self.on_stop = lambda unit: None
        self.journal = ""

    def run_command(self, words):
        if words[0] == "journalctl":
            return 0, self.journal, ""
        assert words[0] == "systemctl"
        verb, *units = words[1:]
        if verb == "is-active":
            return (0, "active\n", "") if units[0] in self.active else (3, "inactive\n", "")
        if verb == "reset-failed":
            return 0, "", ""
        self.calls.append(words[1:])
        if verb == "start":
            self.on_start(units[0])
        if verb == "stop":
            self.active.discard(units[0])
            self.on_stop(units[0])
        return 0, "", ""
