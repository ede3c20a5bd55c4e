# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures that the role vm_metrics serves, of VMs whose QEMU is a fake."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
from fake_qmp import Refusal
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

FILES = Path(__file__).resolve().parents[2] / "roles/vm_metrics/files"

SUB_HOST = {
    "name": "host-3", "share": 8192, "remote": 4096, "second-copies": 0, "connected": True, "failed": False,
    "sent": 40960, "received": 20480, "copied": 0,
}  # fmt: skip
SPLIT = {
    "state": "split", "total": 1 << 30, "limit": 1 << 29, "resident": 1 << 28, "staging": 4096, "zero": 0, "single": 0,
    "replicas": 1, "waiting": 2, "rebalance-remaining": 0, "pages-in": 5, "pages-out": 10, "unsent": 3, "faults": 7,
    "room-waits": 0, "second-chances": 1, "pinned": 0, "read-ahead": 4, "read-ahead-used": 2, "read-ahead-unused": 1,
    "fault-latency": [{"below": 64, "faults": 3}, {"below": 1024, "faults": 1}, {"faults": 1}], "sub-hosts": [SUB_HOST],
}  # fmt: skip


@pytest.fixture(scope="module")
def metrics():
    """The service's module."""
    spec = importlib.util.spec_from_file_location("vm_metrics", FILES / "vm_metrics.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scrape(host, metrics):
    """A function that gives what Prometheus reads: values by name and labels."""

    def text():
        registry = CollectorRegistry()
        registry.register(metrics.VmCollector(host.vms))
        lines = generate_latest(registry).decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    return text


def run(host, name, **answers):
    host.vms.define(name, host.config())
    return host.run(name, **answers)


def test_a_split_vm(host, scrape):
    run(host, "big", query_smemv=SPLIT)
    values = scrape()
    assert values['smemv_vm_responds{vm="big"}'] == 1
    assert values['smemv_vm_state{state="split",vm="big"}'] == 1
    assert values['smemv_vm_resident_bytes{vm="big"}'] == 1 << 28
    assert values['smemv_vm_pages_in_total{vm="big"}'] == 5
    assert values['smemv_vm_pages_out_unsent_total{vm="big"}'] == 3
    assert values['smemv_vm_waiting_faults{vm="big"}'] == 2
    assert values['smemv_vm_sub_host_remote_bytes{sub_host="host-3",vm="big"}'] == 4096
    assert values['smemv_vm_sub_host_connected{sub_host="host-3",vm="big"}'] == 1
    assert values['smemv_vm_sub_host_received_bytes_total{sub_host="host-3",vm="big"}'] == 20480


def test_the_histogram_has_all_buckets(host, scrape, metrics):
    run(host, "big", query_smemv=SPLIT)
    values = scrape()
    counts = {
        match[1]: values[name]
        for name in values
        if (match := re.match(r'smemv_vm_page_in_duration_seconds_bucket\{le="(.*?)"', name))
    }
    assert len(counts) == len(metrics.BUCKETS) + 1
    assert counts["3.2e-05"] == 0
    assert counts["6.4e-05"] == counts["0.000512"] == 3
    assert counts["0.001024"] == counts[repr(metrics.BUCKETS[-1] / 1e6)] == 4
    assert counts["+Inf"] == 5


def test_several_vms_of_which_one_does_not_answer_and_one_is_stopped(host, scrape):
    run(host, "big", query_smemv=SPLIT)
    run(host, "deaf", query_smemv=None)
    host.vms.define("stopped", host.config())
    values = scrape()
    assert {name: value for name, value in values.items() if "responds" in name} == {
        'smemv_vm_responds{vm="big"}': 1,
        'smemv_vm_responds{vm="deaf"}': 0,
    }
    assert not [name for name in values if "deaf" in name and "responds" not in name]


def test_a_vm_of_a_stock_qemu_responds_and_has_no_figures(host, scrape):
    run(host, "old", query_smemv=Refusal("CommandNotFound", "The command query-smemv has not been found"))
    assert scrape() == {'smemv_vm_responds{vm="old"}': 1}


def test_each_scrape_asks_anew(host, scrape):
    run(host, "big", query_smemv=[SPLIT, {**SPLIT, "pages-in": 6}])
    assert scrape()['smemv_vm_pages_in_total{vm="big"}'] == 5
    assert scrape()['smemv_vm_pages_in_total{vm="big"}'] == 6


def test_alerts_and_dashboard_name_metrics_that_are_there(host, scrape):
    run(host, "big", query_smemv=SPLIT)
    served = {name.split("{")[0] for name in scrape()}
    dashboard = json.loads((FILES / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked.append((FILES / "prometheus-alerts.yml").read_text())
    names = {name for expression in asked for name in re.findall(r"smemv_vm_\w+", expression)}
    assert len(names) > 15
    assert names <= served
