# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: relocation_charts
short_description: Draw how a relocation went
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Gives charts as SVG text that stands in an HTML page and has nothing to fetch.
  - Needs the Python package C(pygal) on the controller.
options:
  _input:
    description:
      - What was seen, all of it optional. C(before) and C(after) each with C(host), the main host, and C(memory), as
        M(smemv.kvm.vm_info) returns it; C(moving) and C(placing), the C(samples) of M(smemv.kvm.split_migrate) and of
        M(smemv.kvm.rebalance); C(looks), what M(smemv.kvm.relocation_progress) returned after it; C(used) and
        C(regions), the regions of its memory before and after.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Draw where the memory is
  ansible.builtin.copy:
    content: "{{ ({'after': {'host': 'host-1', 'memory': memory}} | smemv.kvm.relocation_charts).placement }}"
    dest: placement.svg
    mode: "0644"
"""

RETURN = r"""
_value:
  description:
    - C(placement), the bytes on each host before and after; C(sent), C(rates) and C(remaining), the migration;
      C(placed), what was left to be moved after it; C(paging), the pages in and out then, and C(latency), how long
      the guest waited for them; C(map), by address where the memory is, and C(heat), what of it the guest was seen to
      use. A chart that would have nothing to show is missing.
  type: dict
"""

from ansible_collections.smemv.kvm.plugins.plugin_utils import charts, regions, timelines


def relocation_charts(seen):
    charts.check()
    moving, placing, looks = (seen.get(key) or [] for key in ("moving", "placing", "looks"))
    rows = {
        when: timelines.placement(seen[when]["host"], seen[when]["memory"])
        for when in ("before", "after")
        if seen.get(when) and seen[when]["memory"]
    }
    used, after = seen.get("used") or [], seen.get("regions") or []
    drawn = {
        "placement": rows and charts.bars(rows, "Where the guest's memory is", "bytes"),
        "sent": _lines(timelines.sent(moving), "Sent to each host", "bytes"),
        "rates": _lines(timelines.rates(moving), "Sent, and dirtied by the guest", "bytes/s"),
        "remaining": _lines(timelines.remaining(moving), "Left to be sent", "bytes"),
        "placed": _lines(timelines.remaining(placing), "Left to be moved between hosts", "bytes"),
        "paging": _lines(timelines.paging(looks), "Pages between main host and sub-hosts", "pages/s"),
        "latency": _lines(timelines.latency(looks), "Until a page was there that the guest waited for", "us"),
        "heat": _columns(regions.heat(used), used, "What the guest was seen to use, by address"),
        "map": after
        and _columns(
            regions.placement(seen["after"]["host"], seen["after"]["memory"], after),
            after,
            "Where the guest's memory is, by address",
        ),
    }
    return {name: chart for name, chart in drawn.items() if chart}


def _lines(series, title, unit):
    return series and charts.lines(series, title, unit)


def _columns(parts, found, title):
    return parts and charts.columns(parts, sum(region["size"] for region in found), title)


class FilterModule:
    def filters(self):
        return {"relocation_charts": relocation_charts}
