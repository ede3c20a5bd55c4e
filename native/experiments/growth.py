# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page costs as VMs and clusters grow: the memserver's index, the main host's page map, and the planner.

Up to 16 TiB, and a cluster with 256 memservers.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from ansible_collections.smemv.kvm.plugins.module_utils import preflight
from ansible_collections.smemv.kvm.plugins.module_utils.layout import MOST_SUB_HOSTS
from ansible_collections.smemv.kvm.plugins.module_utils.requirements import OVERHEAD_A_PAGE, SEAL_A_PAGE

from lab.links import Hosts
from native.bench.stage import GIB
from tests.make import BUILD, make
from tests.unit.clusters import make_host, put

ADDRESSES = (1024, 4096, 16384)  # GiB of guest memory
# Of which a memserver has one page of so many, strewn: as one of 256 sub-hosts has.
PART = 256
MEMSERVERS = (4, 16, 64, 256)
# Of memory that a VM has for each memserver, and that a memserver has: of 256 the VM then needs 235.
GIB_A_MEMSERVER = 64
CAPACITY = 70 * GIB


def run(hosts: Hosts, number: int, quick: bool) -> list[dict]:
    """A row for each size of a VM, and for each cluster; of one round, which is as good as any."""
    if number:
        return []
    for folder in ("memserver", "page_map"):
        make(f"native/bench/{folder}")
    return [pages(size) for size in ADDRESSES[: 1 if quick else None]] + [plan(count) for count in MEMSERVERS]


def pages(addresses: int) -> dict:
    """What the pages of a VM of so many GiB cost a memserver that has a part of them, and the main host."""
    stored = addresses // PART
    index = bench("index_bench", addresses, stored)
    once, twice = (bench("page_map_bench", addresses, sub_hosts) for sub_hosts in (1, MOST_SUB_HOSTS))
    return {
        "addresses_gib": addresses,
        "pages_gib": stored,
        "memserver_metadata": index["metadata_bytes"] / index["page_bytes"],
        "memserver_lookup_ns": index["lookup_ns"],
        "page_map_bytes_a_page": once["bytes_a_page"],
        "page_map_bytes_a_page_with_two_copies": twice["bytes_a_page"],
        "page_map_ns": once["ns_a_page"],
        "main_host_bytes_a_page": OVERHEAD_A_PAGE,
        "main_host_bytes_a_sealed_page": OVERHEAD_A_PAGE + SEAL_A_PAGE,
    }


def bench(name: str, *arguments: int) -> dict:
    """What a program of the benchmarks says."""
    command = [Path(BUILD, "bench", name), *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def plan(memservers: int) -> dict:
    """Time to plan a VM that wants nearly all memservers of a cluster."""
    hosts = {f"host-{number}": make_host(number, 256 * GIB, CAPACITY) for number in range(1, memservers + 3)}
    total = GIB_A_MEMSERVER * GIB * memservers
    put(hosts, "big", "host-1", total=total)
    request = {"vm": "big", "destination_host": None, "sub_hosts": None, "main_memory": None}
    began = time.perf_counter()
    answer = preflight.plan(request, hosts, list(hosts), list(hosts))
    took = time.perf_counter() - began
    return {
        "vm_gib": total // GIB,
        "memservers": memservers,
        "sub_hosts": len(answer["sub_hosts"]),
        "plan_ms": took * 1000,
    }
