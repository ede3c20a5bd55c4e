# SPDX-License-Identifier: GPL-3.0-or-later
"""Processor seconds for each GiB that moves, by host, and what a page costs in memory beside itself."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

from lab.links import Hosts
from native.bench.huge_pages import set_aside
from native.bench.saved import Saved
from native.bench.stage import GIB, Stage, capacity, resident, save_running
from tests.native.certificates import Authority
from tests.qemu import guests
from tests.qemu.guests import Guest
from tests.qemu.hosts import CREDENTIALS, credentials, encrypt, server_credentials
from tests.qemu.split import MIB, where

MEMORY = 2 * GIB
LIMIT = 1 * GIB
FILLED = 1536 * MIB
WAYS = ("plain", "plain, huge pages on sub-hosts", "TLS", "TLS and sealed pages", "plain, two copies")
SUB_HOSTS = (2, 3)


def run(hosts: Hosts, number: int, quick: bool) -> list[dict]:
    """A row for each way."""
    guest = guests.linux(f"smemv.fill={FILLED // MIB}M smemv.rate=10")
    with save_running(hosts, guest, MEMORY) as saved:
        return [{"way": way, **move(hosts, guest, saved, way)} for way in (WAYS[:1] if quick else WAYS)]


def move(hosts: Hosts, guest: Guest, saved: Saved, way: str) -> dict:
    huge_pages = "huge pages" in way
    with set_aside(capacity(MEMORY) if huge_pages else 0), tempfile.TemporaryDirectory(prefix="smemv-") as folder:
        options, devices = ["--plain"], []
        encrypted = way.startswith("TLS")
        if encrypted:
            names = ",".join(["DNS:main-1", *(f"IP:{host.address}" for host in hosts.hosts)])
            certificates = Authority(Path(folder, "ca")).issue(Path(folder, "host"), "main-1", names)
            peers = Path(folder, "peers")
            peers.write_text("main-1\n", encoding="utf-8")
            options = ["--tls", str(certificates), "--peers", str(peers)]
            devices = [*credentials(certificates), *server_credentials(certificates)]
        with Stage(hosts, guest, MEMORY, options, lambda: (devices, ()), huge_pages=huge_pages) as stage:
            source = stage.start_running(0, stock=False, saved=saved)
            target = stage.start(1, stock=False, incoming=True)
            further = {}
            if encrypted:
                encrypt(source, target)
                further = {"tls_creds": CREDENTIALS, "seal": "sealed" in way}
            stage.aim(source, LIMIT, SUB_HOSTS, replicas=2 if "two copies" in way else 1, **further)
            moved = stage.move(source, target, 1)
            stage.check(target)
            beside = resident(target.process.pid) - target.resident()
            stored = sum(host["remote"] + host["second-copies"] for host in where(target)["sub-hosts"])
            servers = sum(resident(server.process.pid) for server in stage.memservers.values())
    spent: dict[str, float] = defaultdict(float)
    for program, seconds in moved.processor.items():
        spent[program.split()[0]] += seconds / (FILLED / GIB)
    print(f"  {way}: {moved.total_time:.0f} ms, seconds a GiB: "
          + ", ".join(f"{name} {seconds:.2f}" for name, seconds in spent.items()))  # fmt: skip
    return {
        "total_time_ms": moved.total_time,
        **{f"{name}_s_a_gib": seconds for name, seconds in spent.items()},
        "main_host_beside_guest_mib": beside / MIB,
        "memserver_beside_pages_mib": (servers - stored) / len(SUB_HOSTS) / MIB,
    }
