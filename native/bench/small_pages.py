# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program without huge pages: small_pages.py PROGRAM [ARGUMENT...]

A cgroup that is full of huge pages, each used again and again in some part of it, leaves the kernel nothing to swap
out, and it kills the program instead.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_THP_DISABLE = 41

if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0):
    raise OSError(ctypes.get_errno(), "huge pages stay")
os.execvp(sys.argv[1], sys.argv[1:])
