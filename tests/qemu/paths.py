# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are in the checkout. Importing this makes the project's own Python importable."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "native"
NATIVE_QEMU = NATIVE / "qemu"
CACHE = Path(os.environ.get("SMEMV_CACHE") or "/var/cache/smemv")

_COLLECTIONS = ROOT / "build"
_LINK = _COLLECTIONS / "ansible_collections" / "smemv" / "kvm"

# The modules' shared code is imported as a part of its collection.
_LINK.parent.mkdir(parents=True, exist_ok=True)
with contextlib.suppress(FileExistsError):
    _LINK.symlink_to(ROOT)
for _folder in (_COLLECTIONS, NATIVE_QEMU):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
