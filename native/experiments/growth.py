# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page costs as VMs and clusters grow: the memserver's index and the planner, up to 16 TiB and 256 sub-hosts."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from ansible_collections.smemv.kvm.plugins.module_utils import preflight
from ansible_collections.smemv.kvm.plugins.module_utils.requirements import OVERHEAD_A_PAGE, SEAL_A_PAGE

from lab.links import Hosts
from native.bench.stage import GIB
from tests.make import BUILD, make
from tests.unit.clusters import make_host, put

ADDRESSES = (1024, 4096, 16384)  # GiB of guest memory
# Of which a memserver has one page of so many, strewn: as one of 256 sub-hosts has.
PART = 256
SUB_HOSTS = (4, 16, 64, 256)


def run(hosts: Hosts, rounds: int, quick: bool) -> list[dict]:
    """A row for each size of the index, and for each cluster."""
    make("native/bench/memserver")
    rows = [index(size, size // PART) for size in ADDRESSES]
    return rows + [plan(count) for count in SUB_HOSTS]


def index(addresses: int, pages: int) -> dict:
    command = [Path(BUILD, "bench/index_bench"), str(addresses), str(pages)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {
        "addresses_gib": addresses,
        "pages_gib": pages,
        "memserver_metadata": found["metadata_bytes"] / found["page_bytes"],
        "memserver_lookup_ns": found["lookup_ns"],
        "main_host_bytes_a_page": OVERHEAD_A_PAGE,
        "main_host_bytes_a_sealed_page": OVERHEAD_A_PAGE + SEAL_A_PAGE,
    }


def plan(sub_hosts: int) -> dict:
    """Time to plan a VM that wants all of so many sub-hosts."""
    hosts = {f"host-{number}": make_host(number, 256 * GIB, 64 * GIB) for number in range(1, sub_hosts + 3)}
    total = 64 * GIB * sub_hosts
    put(hosts, "big", "host-1", total=total)
    request = {"vm": "big", "destination_host": None, "sub_hosts": None, "main_memory": None}
    began = time.perf_counter()
    answer = preflight.plan(request, hosts, list(hosts), list(hosts))
    took = time.perf_counter() - began
    return {"vm_gib": total // GIB, "sub_hosts": len(answer["sub_hosts"]), "plan_ms": took * 1000}
