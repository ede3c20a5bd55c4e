# SPDX-License-Identifier: GPL-3.0-or-later
"""Every scenario of molecule/, one after another: they share a lab. As root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent.name for path in CHECKOUT.glob("molecule/*/molecule.yml"))


@pytest.mark.nightly
@pytest.mark.timeout(1800, func_only=True)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str) -> None:
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        [scripts / "molecule", "test", "--scenario-name", scenario],
        cwd=CHECKOUT,
        env={**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
