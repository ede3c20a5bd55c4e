# SPDX-License-Identifier: GPL-3.0-or-later
"""Every benchmark at least starts: what it shares with the tests changes more often than it is run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
BENCHMARKS = [*sorted((CHECKOUT / "native/bench").glob("*/run")), CHECKOUT / "native/experiments/run"]


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda run: run.parent.name)
def test_benchmark_tells_its_usage(benchmark: Path) -> None:
    """Its imports and its options hold."""
    done = subprocess.run(
        [sys.executable, benchmark, "--help"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
