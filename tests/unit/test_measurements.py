# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of docs/measurements, as tools/measurements makes them of a benchmark's JSON."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ROWS = [
    {"metric": "demand fault, p50", "value": 60.0, "unit": "us", "against": "a bare handler thread",
     "against_value": 50.0, "ratio": 1.2, "goal": "<= 1.1", "holds": False},
    {"metric": "uniform", "value": 30.0, "unit": "1/s", "against": "whole", "against_value": 60.0, "ratio": 0.5,
     "goal": ">= 0", "holds": True},
]  # fmt: skip


@pytest.fixture
def measurements(tmp_path, monkeypatch):
    """The tool's module, that reads and writes below a folder of the test's own."""
    loader = importlib.machinery.SourceFileLoader("measurements", str(CHECKOUT / "tools/measurements"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("measurements", loader))
    loader.exec_module(module)
    monkeypatch.setattr(module, "FOUND", tmp_path)
    monkeypatch.setattr(module, "DOCS", tmp_path / "docs")
    return module


def test_a_page_has_every_row_and_says_what_is_missed(measurements, tmp_path):
    (tmp_path / "pager.json").write_text(json.dumps(ROWS))
    measurements.write("pager")
    lines = (tmp_path / "docs/pager.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| demand fault") or line.startswith("| uniform")]
    assert rows == [
        "| demand fault, p50 | 60 us | a bare handler thread | 50 us | 1.2 | <= 1.1 | **missed** |",
        "| uniform | 30 1/s | whole | 60 1/s | 0.5 | >= 0 | holds |",
    ]
    assert "`sudo make bench ONLY=pager` measures it anew." in "\n".join(lines)
    assert b"demand fault, p50" in (tmp_path / "docs/pager.svg").read_bytes()


@pytest.mark.parametrize("name", sorted(path.parent.name for path in CHECKOUT.glob("native/bench/*/run")))
def test_every_benchmark_says_what_it_is_for(measurements, name):
    assert measurements.purpose(name).endswith(".")
