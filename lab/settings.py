# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps its things, and what it calls them."""
from __future__ import annotations

import os
import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("SMEMV_CACHE", "/var/cache/smemv"))

# Every lab that is up has a folder here. It holds device nodes and disks, so
# it cannot be /run, which is mounted nodev and in memory.
STATE = Path("/var/lib/smemv-lab")

DEFAULT_LAB = "smemv"
DEFAULT_HOSTS = 4
DEFAULT_MEMORY = "4G"

# A network interface's name, at most 15 characters, carries the lab's name.
LAB_NAME = re.compile(r"[a-z][a-z0-9]{0,10}")


class LabError(Exception):
    """Something the operator should read; without a traceback."""
