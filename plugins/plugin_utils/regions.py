# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the maps of a report show, from the regions of a VM as vm_info gives them. Pure.

A map is {part: [bytes of it in each region, from the lowest addresses up]}.
"""

from __future__ import annotations


def placement(main_host, memory, regions):
    """Which host has how much of each region."""
    parts = {main_host: [region["resident"] for region in regions]}
    for number, sub_host in enumerate(memory["sub_hosts"]):
        parts[sub_host["name"]] = [region["remote"][number] for region in regions]
    return {**parts, "never written": [region["zero"] for region in regions]}


def heat(regions):
    """How much of each region the guest was seen to use; nothing where it was not looked at."""
    if not any("used" in region for region in regions):
        return {}
    return {
        "seen in use": [region["used"] for region in regions],
        "not seen in use": [region["size"] - region["used"] for region in regions],
    }
