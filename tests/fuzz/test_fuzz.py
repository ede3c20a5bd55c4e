# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzzes for a minute, or for SMEMV_FUZZ_SECONDS."""

from __future__ import annotations

import os
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


def test_nothing_is_found():
    seconds = os.environ.get("SMEMV_FUZZ_SECONDS", "60")
    subprocess.run(["make", "-C", str(HERE), "fuzz", f"SECONDS={seconds}"], check=True)
