# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test's sanity tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.mark.nightly
@pytest.mark.timeout(1200, func_only=True)
def test_sanity() -> None:
    done = subprocess.run(
        [Path(__file__).parent / "run"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
