# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.layout import (
    divide,
    fits_in_parts,
    least_limit,
    remote_need,
    reshape,
)
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import GIB, MIB, PAGE
from hypothesis import given
from hypothesis import strategies as st

rooms = st.dictionaries(
    st.sampled_from([f"host-{number}" for number in range(12)]),
    st.integers(min_value=0, max_value=1 << 42),
    min_size=1,
)
pages = st.integers(min_value=0, max_value=1 << 30)


@given(st.integers(min_value=1, max_value=1 << 30), st.integers(min_value=1, max_value=1 << 30))
def test_the_need_is_what_the_main_host_may_not_count_on(memory_pages, limit_pages):
    memory, limit = memory_pages * PAGE, limit_pages * PAGE
    need = remote_need(memory, limit)
    assert need % PAGE == 0
    assert 16 * need >= 16 * memory - 15 * limit
    assert need == 0 or need - PAGE < memory - limit // 16 * 15


def test_the_need_of_two_gibibytes_with_one_at_the_main_host():
    assert remote_need(2 * GIB, GIB) == 1088 * MIB


@given(st.integers(min_value=1, max_value=1 << 30), st.integers(min_value=0, max_value=1 << 42))
def test_the_least_limit_is_the_one_below_which_the_need_is_more_than_the_room(memory_pages, room):
    memory = memory_pages * PAGE
    limit = least_limit(memory, room)
    assert limit % PAGE == 0
    assert remote_need(memory, limit) <= room
    assert limit == 0 or remote_need(memory, limit - PAGE) > room


@given(rooms, pages)
def test_a_plan_fits_exactly_or_is_refused_rightly(room, need_pages):
    need = need_pages * PAGE
    whole = sum(size // PAGE * PAGE for size in room.values())
    try:
        shares = divide(need, room)
    except Refused as refused:
        assert need > whole
        assert {host for host, _reason in refused.reasons} == set(room)
        return
    assert need <= whole
    assert sum(shares.values()) == need
    assert set(shares) == set(room)
    for host, share in shares.items():
        assert share % PAGE == 0
        assert 0 <= share <= room[host]


@given(rooms, pages)
def test_shares_are_in_proportion_to_the_room(room, need_pages):
    total = sum(size // PAGE for size in room.values())
    wanted = min(need_pages, total)
    shares = divide(wanted * PAGE, room)
    for host, share in shares.items():
        exact = wanted * (room[host] // PAGE) / total if total else 0
        assert abs(share // PAGE - exact) <= 1


def test_equal_rooms_have_equal_shares():
    assert divide(1088 * MIB, {"host-3": 2 * GIB, "host-4": 2 * GIB}) == {"host-3": 544 * MIB, "host-4": 544 * MIB}


def test_a_refusal_says_what_each_host_has():
    with pytest.raises(Refused) as refused:
        divide(GIB, {"host-3": 100 * MIB, "host-4": 200 * MIB})
    together = "and 1024MiB are wanted of all sub-hosts together, which have 300MiB"
    assert refused.value.reasons == [
        ("host-3", f"its memserver has room for 100MiB, {together}"),
        ("host-4", f"its memserver has room for 200MiB, {together}"),
    ]


@st.composite
def reshapes(draw):
    """(need, shares of those that stay, room of all), in bytes."""
    room = draw(rooms)
    stay = draw(st.lists(st.sampled_from(sorted(room)), unique=True))
    shares = {name: draw(st.integers(min_value=0, max_value=room[name] // PAGE)) * PAGE for name in stay}
    return draw(pages) * PAGE, shares, room


@given(reshapes())
def test_a_reshaped_layout_fits_exactly_or_is_refused_rightly(case):
    need, shares, room = case
    whole = sum(size // PAGE * PAGE for size in room.values())
    try:
        planned = reshape(need, shares, room)
    except Refused as refused:
        assert need > whole
        assert {host for host, _reason in refused.reasons} == set(room)
        return
    assert need <= whole
    assert sum(planned.values()) == need
    assert set(planned) == set(room)
    for host, share in planned.items():
        assert share % PAGE == 0
        assert 0 <= share <= room[host]


@given(reshapes())
def test_what_stays_keeps_its_share_where_new_sub_hosts_have_the_room(case):
    need, shares, room = case
    new = [room[name] // PAGE * PAGE for name in room if name not in shares]
    left = need - sum(shares.values())
    if (new and len(new) * MIB <= left <= sum(new)) or (not new and left == 0):
        planned = reshape(need, shares, room)
        assert {name: planned[name] for name in shares} == shares


@given(reshapes())
def test_no_share_shrinks_while_others_have_to_grow(case):
    need, shares, room = case
    whole = sum(size // PAGE * PAGE for size in room.values())
    if set(shares) == set(room) and sum(shares.values()) <= need <= whole:
        planned = reshape(need, shares, room)
        assert all(planned[name] >= share for name, share in shares.items())


def test_a_new_sub_host_takes_part_where_nothing_is_wanted_of_it():
    shares = reshape(GIB, {"host-3": GIB}, {"host-3": 2 * GIB, "host-4": 2 * GIB})
    assert shares == {"host-3": 512 * MIB, "host-4": 512 * MIB}


def test_an_emptied_sub_host_is_taken_over_by_a_new_one():
    shares = reshape(GIB, {"host-3": 512 * MIB}, {"host-3": 2 * GIB, "host-4": 2 * GIB})
    assert shares == {"host-3": 512 * MIB, "host-4": 512 * MIB}


def test_what_a_new_sub_host_cannot_take_goes_to_those_that_stay():
    shares = reshape(GIB, {"host-3": 512 * MIB}, {"host-3": 2 * GIB, "host-4": 256 * MIB})
    assert shares == {"host-3": 768 * MIB, "host-4": 256 * MIB}


@given(pages, st.lists(st.integers(min_value=0, max_value=1 << 30).map(lambda count: count * PAGE), min_size=1))
def test_parts_fit_only_where_there_is_room_and_always_where_each_has_its_own(need_pages, sizes):
    need = need_pages * PAGE
    fits = fits_in_parts(need, sizes)
    if fits:
        assert need <= sum(sizes)
    if min(sizes) >= need / len(sizes) + PAGE or max(sizes) >= need:
        assert fits


def test_what_one_refuses_another_takes():
    assert fits_in_parts(900, [1000 * PAGE, 0])
    assert fits_in_parts(8 * PAGE, [9 * PAGE, 3 * PAGE])
    assert not fits_in_parts(8 * PAGE, [7 * PAGE, 3 * PAGE])
