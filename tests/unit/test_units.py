# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages chosen one by one, or in parts."""

from native.bench.policy.units import page_ins

# Of eight pages the even ones are in use.
EVEN = [0, 2, 4, 6] * 40


def test_one_by_one_finds_what_is_used():
    assert page_ins([1, 3, 5, 7, *EVEN], 1, 2) == 0


def test_parts_take_their_unused_pages_with_them():
    assert page_ins([1, 3, 5, 7, *EVEN], 2, 2) == 2


def test_pages_of_one_kind_beside_each_other_want_no_choice():
    trace = [4, 5, 6, 7, *[0, 1, 2, 3] * 40]
    assert page_ins(trace, 1, 2) == page_ins(trace, 4, 2) == 0


def test_a_part_that_has_no_room_as_a_whole_stays_in_part():
    assert page_ins([0, 1, 2, 3] * 40, 4, 2) == 2


def test_a_page_that_is_wanted_again_came_once():
    assert page_ins([0, 1] * 40 + [2, 3] * 40, 1, 2) == 2
