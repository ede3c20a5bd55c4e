# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes as people write them."""
from __future__ import annotations

import re

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str) -> int:
    """Return the bytes in "1536M", "4G", "4GiB" or "1048576"; ValueError for anything else."""
    match = re.fullmatch(r"(\d+)(?:([KMGT])(?:iB)?)?", text)
    if not match:
        raise ValueError(f"{text} is not a size like 1536M or 4G")
    return int(match[1]) * UNITS[match[2] or ""]
