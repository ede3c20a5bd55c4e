# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a relocation's report draws."""

from __future__ import annotations

import xml.etree.ElementTree

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.smemv.kvm.plugins.filter.relocation_charts import relocation_charts
from ansible_collections.smemv.kvm.plugins.module_utils.progress import sample
from ansible_collections.smemv.kvm.plugins.plugin_utils import charts, regions, timelines
from test_progress import MIB, look

SAMPLES = [
    {"time": 100.0, "sent": {"host-2": 5, "host-3": 1000}, "sent_rate": 0, "dirty_rate": 0, "remaining": 900},
    {"time": 102.0, "sent": {"host-2": 25, "host-3": 1040}, "sent_rate": 30, "dirty_rate": 7, "remaining": 840},
]
MEMORY = {"resident": 10, "zero": 4, "sub_hosts": [{"name": "host-3", "remote": 6}]}


def seen(time, pages_in, faults, pages_out):
    return {"time": time, "memory": {"pages_in": pages_in, "faults": faults, "pages_out": pages_out}}


def test_a_sample_tells_who_was_sent_how_much():
    before = look(10, 100 * MIB, 768 * MIB)
    after = look(12, 300 * MIB, 500 * MIB, dirty=2560, remote=[("host-3", 120 * MIB)])
    assert sample("host-2", after, before) == {
        "time": 12,
        "status": "active",
        "sent": {"host-2": 180 * MIB, "host-3": 120 * MIB},
        "remaining": 500 * MIB,
        "sent_rate": 100 * MIB,
        "dirty_rate": 10 * MIB,
    }


def test_a_sample_of_memory_that_is_placed_anew():
    memory = {"sub_hosts": [{"name": "host-3", "sent": 7}], "rebalance_remaining": 50}
    taken = sample(None, {"time": 1, "migration": {}, "memory": memory})
    assert (taken["sent"], taken["remaining"], taken["status"]) == ({"host-3": 7}, 50, "none")


def test_timelines_begin_with_the_first_look():
    assert timelines.sent(SAMPLES) == {"host-2": [(0, 0), (2, 20)], "host-3": [(0, 0), (2, 40)]}
    assert timelines.rates(SAMPLES) == {"sent": [(0, 0), (2, 30)], "dirtied by the guest": [(0, 0), (2, 7)]}
    assert timelines.remaining(SAMPLES) == {"left": [(0, 900), (2, 840)]}


def test_paging_is_counted_from_look_to_look():
    looks = [seen(50, 100, 10, 0), {"time": 51, "progress": "unknown"}, seen(52, 300, 20, 50)]
    assert timelines.paging(looks) == {
        "pages in": [(2, 100.0)],
        "waited for by the guest": [(2, 5.0)],
        "pages out": [(2, 25.0)],
    }


def test_latency_is_that_of_the_faults_since_the_look_before():
    steps = ([], [(32, 2), (64, 6), (None, 0)], [(32, 2), (64, 6), (None, 3)], [(32, 2), (64, 6), (None, 3)])
    looks = [
        {"time": 10 + second, "memory": {"fault_latency": [
            {"faults": faults, **({} if below is None else {"below": below})} for below, faults in counts
        ]}}
        for second, counts in enumerate(steps)
    ]  # fmt: skip
    assert timelines.latency(looks) == {"half of them": [(1, 64), (2, 128)], "99 % of them": [(1, 64), (2, 128)]}


def test_maps_go_from_the_lowest_addresses_up():
    before = [{"size": 8, "resident": 8, "zero": 0, "remote": [], "used": 5}]
    after = [{"size": 8, "resident": 2, "zero": 1, "remote": [5]}, {"size": 8, "resident": 8, "zero": 0, "remote": [0]}]
    assert regions.heat(after) == {}
    assert regions.heat(before) == {"seen in use": [5], "not seen in use": [3]}
    assert regions.placement("host-1", MEMORY, after) == {"host-1": [2, 8], "host-3": [5, 0], "never written": [1, 0]}
    drawn = relocation_charts({"after": {"host": "host-1", "memory": MEMORY}, "regions": after, "used": before})
    assert set(drawn) == {"placement", "map", "heat"}
    assert "seen in use" in drawn["heat"]


def test_without_a_second_look_nothing_is_drawn():
    assert relocation_charts({"moving": SAMPLES[:1], "looks": [seen(1, 1, 1, 1)]}) == {}


def test_each_chart_is_whole_and_says_what_it_shows():
    place = {"host": "host-1", "memory": MEMORY}
    looks = [seen(1, 1, 1, 1), seen(2, 3, 2, 1)]
    drawn = relocation_charts({"before": place, "after": place, "moving": SAMPLES, "placing": SAMPLES, "looks": looks})
    assert set(drawn) == {"placement", "sent", "rates", "remaining", "placed", "paging"}
    for svg in drawn.values():
        assert xml.etree.ElementTree.fromstring(svg).tag.endswith("svg")
        assert "<script" not in svg
    for word in ("host-1", "host-3", "never written", "before", "after"):
        assert word in drawn["placement"]
    assert "dirtied by the guest" in drawn["rates"]


def test_what_is_missing_for_it_is_said(monkeypatch):
    monkeypatch.setattr(charts, "pygal", None)
    with pytest.raises(AnsibleFilterError, match="wants the Python package pygal on the controller: pip install pygal"):
        relocation_charts({})
