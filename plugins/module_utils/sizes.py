# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes as operators write them, and back."""

from __future__ import annotations

import re

from ansible_collections.smemv.kvm.plugins.module_utils.errors import SizeError

PAGE = 4096
KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

_UNITS = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": 1 << 40}
_SIZE = re.compile(r"(0|[1-9][0-9]{0,17})(B|KiB|MiB|GiB|TiB)", re.ASCII)


def parse_size(text, what="size"):
    """Bytes of a size such as ``512MiB``.

    A unit is wanted always: a bare number is bytes to one tool and megabytes to the next.
    Raises SizeError.
    """
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise SizeError(
            f"{what} {text!r} is not a size: write a whole number and one of B, KiB, MiB, GiB, TiB, such as 512MiB"
        )
    return int(match.group(1)) * _UNITS[match.group(2)]


def parse_pages(text, what="size"):
    """Like parse_size, for a size that has to be a multiple of the page."""
    size = parse_size(text, what)
    if size % PAGE:
        raise SizeError(f"{what} {text} is not a multiple of the page, 4KiB")
    return size


def format_size(size):
    """The shortest text that parse_size() reads back as exactly ``size`` bytes."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return f"{size}B"


def round_size(size):
    """``size`` bytes for a reader: in whole MiB, rounded down, or in KiB below one MiB."""
    if size >= MIB:
        return "%sMiB" % (size // MIB)
    return "%sKiB" % (size // KIB)


def page_up(size):
    """``size`` rounded up to a multiple of the page."""
    return -(-size // PAGE) * PAGE
