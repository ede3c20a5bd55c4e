# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzzes for a minute, or for SMEMV_FUZZ_SECONDS."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = int(os.environ.get("SMEMV_FUZZ_SECONDS", "60"))


@pytest.mark.timeout(SECONDS + 240, func_only=True)
def test_nothing_is_found():
    subprocess.run(["make", "-C", str(HERE), "fuzz", f"SECONDS={SECONDS}"], check=True)
