# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a stall, from looks at a migration that sends 100 MiB/s."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils.stall import StallWatch

MIB = 1 << 20
PAGES = MIB // 4096


def said(dirty, interval=5, sent=100, status="active"):
    """When a stall is said, with the dirty rates (MiB/s) of looks that follow each other: the first time, and how."""
    watch = StallWatch("big")
    for number, rate in enumerate(dirty):
        time = number * interval
        ram = {"transferred": sent * MIB * time, "dirty_pages_rate": rate * PAGES}
        stall = watch.see({"time": time, "migration": {"status": status, "ram": ram}})
        if stall:
            return time, stall
    return None


def test_a_guest_that_dirties_as_fast_as_it_is_sent():
    time, sentence = said([100] * 10)
    assert time == 30
    assert sentence.startswith(
        "the migration of VM big does not converge: for 30 s its guest has dirtied what could be sent, 100MiB/s of "
        "100MiB/s; "
    )


def test_nine_tenths_is_where_it_begins():
    assert said([90] * 10)
    assert not said([89] * 10)


def test_one_look_with_headway_begins_it_anew():
    assert said([100, 100, 100, 100, 100, 100, 50, 100, 100, 100, 100, 100, 100])[0] == 60


def test_the_first_pass_knows_no_dirty_rate_and_does_not_stall():
    assert not said([0] * 100)


def test_nothing_sent_is_a_stall_whatever_the_guest_does():
    assert said([0] * 10, sent=0) == (30, "the migration of VM big stalls: for 30 s nothing has been sent")


def test_two_looks_far_apart_are_enough():
    assert said([100] * 3, interval=60)[0] == 60


def test_only_what_is_active_stalls():
    for status in ("setup", "device", "pre-switchover", "cancelling"):
        assert not said([100] * 10, status=status)


def test_before_there_is_anything_to_tell():
    watch = StallWatch("big")
    assert not any(watch.see({"time": time, "migration": {}}) for time in range(60))
