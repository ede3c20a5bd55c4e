# SPDX-License-Identifier: GPL-3.0-or-later
"""The alert rules of the role vm_metrics, by Prometheus' own checker."""

from __future__ import annotations

from pathlib import Path

from promtool import promtool

HERE = Path(__file__).resolve().parent
RULES = HERE.parents[1] / "roles/vm_metrics/files/prometheus-alerts.yml"


def test_the_alerts_fire_when_they_should(tmp_path):
    promtool("check", "rules", RULES)
    tests = tmp_path / "alerts_test.yml"
    tests.write_text((HERE / "vm_alerts_test.yml").read_text().replace("RULES", str(RULES)))
    promtool("test", "rules", tests)
