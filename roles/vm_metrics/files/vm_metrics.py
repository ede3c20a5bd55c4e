# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serves where the memory of this host's VMs is, and what paging costs them, to Prometheus.

usage: vm_metrics.py ADDRESS:PORT

Each scrape asks the QEMU of each VM that runs here, so that nothing is kept that could be old.
"""

from __future__ import annotations

import os
import signal
import sys

from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpError
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import VmHost, query_smemv
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

# Seconds for each VM, out of the ten that Prometheus allows for all.
PATIENCE = 2.0
# The limits of query-smemv's fault-latency, in microseconds.
BUCKETS = [16 << i for i in range(19)]

# Of the VM: names of query-smemv, what they are called here, and what they say.
VM_GAUGES = {
    "total": ("memory_bytes", "Guest memory that can be on sub-hosts."),
    "limit": ("limit_bytes", "Guest memory that may be resident on the main host; 0 while the VM is whole."),
    "resident": ("resident_bytes", "Guest memory that is resident, staging included."),
    "staging": ("staging_bytes", "Guest memory that is on its way out."),
    "zero": ("zero_bytes", "Guest memory that is nowhere, as it is zero."),
    "single": ("single_bytes", "Guest memory that is on one sub-host only."),
    "replicas": ("replicas", "Sub-hosts that each page is to be on."),
    "waiting": ("waiting_faults", "Page faults that wait for a sub-host that cannot be reached."),
    "rebalance_remaining": ("rebalance_remaining_bytes", "Guest memory that is still to be moved between hosts."),
}
VM_COUNTERS = {
    "pages_in": ("pages_in", "Pages that were fetched."),
    "pages_out": ("pages_out", "Pages that were evicted."),
    "unsent": ("pages_out_unsent", "Evicted pages that their sub-host had kept, unchanged."),
    "faults": ("faults", "Page faults that were served, of any kind."),
    "room_waits": ("room_waits", "Page faults that waited until another page had left."),
    "second_chances": ("second_chances", "Pages that came back from staging."),
    "pinned": ("pinned", "Times that a page could not leave, as a device used it."),
    "read_ahead": ("read_ahead", "Pages that were fetched before a fault wanted them."),
    "read_ahead_used": ("read_ahead_used", "Pages read ahead that the guest went on to."),
    "read_ahead_unused": ("read_ahead_unused", "Pages read ahead that left again before."),
}
# The same of each of its sub-hosts.
SUB_HOST_GAUGES = {
    "share": ("sub_host_share_bytes", "Memory that the VM has reserved on the sub-host."),
    "remote": ("sub_host_remote_bytes", "Guest memory that is there."),
    "second_copies": ("sub_host_second_copies_bytes", "Guest memory of which it has a second copy."),
    "connected": ("sub_host_connected", "Whether its memserver answers."),
    "failed": ("sub_host_failed", "Whether it was found to be lost."),
}
SUB_HOST_COUNTERS = {
    "sent": ("sub_host_sent_bytes", "Pages that were sent there."),
    "received": ("sub_host_received_bytes", "Pages that were received from there."),
    "copied": ("sub_host_copied_bytes", "Pages that it sent to other sub-hosts."),
}


class VmCollector:
    """Asks the VMs at each scrape.

    :param vms: the host's VmHost.
    """

    def __init__(self, vms):
        self._vms = vms

    def describe(self):
        """Nothing: to know the names no VM needs to be asked."""
        return []

    def collect(self):
        """The families of all VMs that run here."""
        responds = GaugeMetricFamily("smemv_vm_responds", "Whether the VM's QEMU answers.", labels=["vm"])
        state = GaugeMetricFamily("smemv_vm_state", "1 for the state that it is in.", labels=["vm", "state"])
        latency = HistogramMetricFamily(
            "smemv_vm_page_in_duration_seconds", "From a page fault to its page in place.", labels=["vm"]
        )
        vm_families = _families(VM_GAUGES, VM_COUNTERS, ["vm"])
        sub_host_families = _families(SUB_HOST_GAUGES, SUB_HOST_COUNTERS, ["vm", "sub_host"])
        for name in self._vms.names():
            if not os.path.exists(self._vms.paths(name).qmp):
                continue
            try:
                with self._vms.connect(name, PATIENCE) as client:
                    memory = query_smemv(client)
            except QmpError:
                responds.add_metric([name], 0)
                continue
            responds.add_metric([name], 1)
            if memory is None:
                continue
            state.add_metric([name, memory["state"]], 1)
            _add(vm_families, [name], memory)
            latency.add_metric([name], _buckets(memory["fault_latency"]), None)
            for sub_host in memory["sub_hosts"]:
                _add(sub_host_families, [name, sub_host["name"]], sub_host)
        return [responds, state, latency, *vm_families.values(), *sub_host_families.values()]


def _families(gauges, counters, labels):
    """By query-smemv's names, a family for each."""
    return {
        key: family("smemv_vm_" + name, text, labels=labels)
        for family, table in ((GaugeMetricFamily, gauges), (CounterMetricFamily, counters))
        for key, (name, text) in table.items()
    }


def _add(families, labels, values):
    for key, family in families.items():
        family.add_metric(labels, float(values[key]))


def _buckets(latencies):
    """Prometheus' buckets, each with all that are below, in seconds; also those that QEMU leaves out, being empty."""
    faults = {latency.get("below"): latency["faults"] for latency in latencies}
    buckets, total = [], 0
    for below in BUCKETS:
        total += faults.get(below, 0)
        buckets.append((repr(below / 1e6), total))
    return [*buckets, ("+Inf", total + faults.get(None, 0))]


def serve(where, vms):
    """Serve at ADDRESS:PORT, in threads of its own."""
    address, _colon, port = where.rpartition(":")
    registry = CollectorRegistry()
    registry.register(VmCollector(vms))
    start_http_server(int(port), address.strip("[]"), registry=registry)


if __name__ == "__main__":
    # It starts no programs: no command is run for these figures.
    serve(sys.argv[1], VmHost(run_command=None))
    signal.pause()
