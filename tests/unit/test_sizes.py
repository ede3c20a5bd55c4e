# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import SizeError
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import (
    PAGE,
    format_size,
    page_up,
    parse_pages,
    parse_size,
    round_size,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("4096B", 4096), ("1KiB", 1024), ("64MiB", 64 << 20), ("1GiB", 1 << 30), ("3TiB", 3 << 40)],
)
def test_a_size_is_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "1", "1G", "1GB", "1gib", "1 GiB", " 1GiB", "1GiB ", "1GiB\n", "-1GiB", "+1GiB", "1.5GiB", "01GiB", "0x1GiB",
     "GiB", "1_000MiB", "1e3MiB", "\u0661GiB", "1000000000000000000B", 1073741824, None, True, ["1GiB"]],
)  # fmt: skip
def test_what_is_no_size_is_refused_and_named(text):
    with pytest.raises(SizeError, match=r"main_memory .* is not a size"):
        parse_size(text, "main_memory")


@given(st.integers(min_value=0, max_value=10**17))
def test_a_size_comes_back_as_it_was(size):
    assert parse_size(format_size(size)) == size


@given(st.text())
def test_any_text_is_a_size_or_refused(text):
    try:
        assert parse_size(text) >= 0
    except SizeError as error:
        assert "is not a size" in str(error)


def test_a_part_of_a_page_is_refused():
    with pytest.raises(SizeError, match="multiple of the page"):
        parse_pages("4097B")
    assert parse_pages("8KiB") == 8192


@given(st.integers(min_value=0, max_value=1 << 60))
def test_page_up_is_the_least_multiple_that_holds_it(size):
    assert page_up(size) % PAGE == 0
    assert 0 <= page_up(size) - size < PAGE


def test_a_reader_gets_whole_mebibytes():
    assert round_size((5 << 20) + 12345) == "5MiB"
    assert round_size(12345) == "12KiB"
