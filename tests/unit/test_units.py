# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages chosen one by one, or in parts."""

from native.bench.policy.units import found

# Of eight pages the even ones are in use.
EVEN = [0, 2, 4, 6] * 40


def test_one_by_one_finds_what_is_used():
    assert found([1, 3, 5, 7, *EVEN], 1, 2) == 4


def test_parts_take_their_unused_pages_with_them():
    assert found([1, 3, 5, 7, *EVEN], 2, 2) == 2


def test_pages_of_one_kind_beside_each_other_want_no_choice():
    trace = [4, 5, 6, 7, *[0, 1, 2, 3] * 40]
    assert found(trace, 1, 2) == found(trace, 4, 2) == 4


def test_a_part_that_has_no_room_as_a_whole_stays_in_part():
    assert found([0, 1, 2, 3] * 40, 4, 2) == 2


def test_a_page_that_was_not_wanted_before_is_not_there():
    assert found([0, 1] * 40 + [2, 3] * 40, 1, 2) == 0
