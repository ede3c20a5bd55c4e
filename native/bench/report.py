# SPDX-License-Identifier: GPL-3.0-or-later
"""What a benchmark found: measurements, each beside what it is compared with, in build/bench/NAME.json."""
from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build/bench"


class Report:
    """The rows of one benchmark, printed as they come."""

    def __init__(self, name: str) -> None:
        self.path = FOLDER / f"{name}.json"
        self._rows: list[dict] = []

    def at_most(self, metric: str, value: float, unit: str, against: str, against_value: float, goal: float) -> None:
        """Add a measurement that should be at most `goal` times that of `against`."""
        self._add(metric, value, unit, against, against_value, f"<= {goal}", value <= goal * against_value)

    def at_least(self, metric: str, value: float, unit: str, against: str, against_value: float, goal: float) -> None:
        """Add a measurement that should be at least `goal` times that of `against`."""
        self._add(metric, value, unit, against, against_value, f">= {goal}", value >= goal * against_value)

    def write(self) -> None:
        """Write the JSON file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self._rows, indent=2) + "\n", encoding="utf-8")

    def _add(self, metric: str, value: float, unit: str, against: str, against_value: float,
             goal: str, holds: bool) -> None:
        row = {"metric": metric, "value": value, "unit": unit, "against": against, "against_value": against_value,
               "ratio": value / against_value, "goal": goal, "holds": holds}
        self._rows.append(row)
        print(f"  {metric}: {value:.4g} {unit}, {row['ratio']:.3g} x {against} ({against_value:.4g} {unit});"
              f" goal {goal} {'holds' if holds else 'MISSED'}", flush=True)
