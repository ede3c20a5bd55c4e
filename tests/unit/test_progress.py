# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils.progress import moving, rebalancing

MIB = 1 << 20


def look(time, sent, left, dirty=0, remote=()):
    """A look at a VM of 1 GiB that moves; remote is [(sub-host, bytes sent there)]."""
    ram = {"total": 1024 * MIB, "remaining": left, "transferred": sent, "dirty_pages_rate": dirty}
    sub_hosts = [{"name": name, "sent": size} for name, size in remote]
    migration = {"status": "active", "ram": ram}
    return {"time": time, "progress": "under_way", "migration": migration, "memory": {"sub_hosts": sub_hosts}}


def placing(time, left, **more):
    return {"time": time, "memory": {"rebalance_remaining": left, **more}}


def test_before_there_is_anything_to_tell():
    first = {"time": 0, "migration": {}, "memory": {"sub_hosts": []}}
    assert moving("big", "host-2", first) == "VM big to host-2: about to begin"


def test_the_first_look_has_no_rates():
    assert moving("big", "host-2", look(0, 0, 768 * MIB)) == "VM big to host-2: active, 25 % of 1024MiB, 768MiB left"


def test_rates_come_from_two_looks():
    before = look(10, 100 * MIB, 768 * MIB)
    after = look(12, 300 * MIB, 500 * MIB, dirty=2560, remote=[("host-3", 120 * MIB), ("host-4", 80 * MIB)])
    assert moving("big", "host-2", after, before) == (
        "VM big to host-2: active, 52 % of 1024MiB, 500MiB left, 100MiB/s, the guest dirties 10MiB/s, 6 s left, "
        "sent: host-2 100MiB host-3 120MiB host-4 80MiB"
    )


def test_a_migration_that_does_not_converge_is_said_to_be_so():
    line = moving("big", "host-2", look(1, 20 * MIB, 500 * MIB, dirty=25600), look(0, 0, 500 * MIB))
    assert "20MiB/s, the guest dirties 100MiB/s, the guest dirties its memory faster than it is sent" in line


def test_memory_that_is_placed_anew():
    line = rebalancing("big", placing(4, 100 * MIB), placing(2, 140 * MIB))
    assert line == "VM big: 100MiB of its memory still to be moved, 20MiB/s, 5 s left"


def test_what_it_waits_for_is_said():
    stuck = placing(4, 100 * MIB, rebalance_error="host-4: it does not answer")
    line = rebalancing("big", stuck, placing(2, 100 * MIB))
    assert line == "VM big: 100MiB of its memory still to be moved, waiting: host-4: it does not answer"
