# SPDX-License-Identifier: GPL-3.0-or-later
"""Processor seconds for each GiB that moves, by host, and what a page costs in memory beside itself."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lab.links import Hosts
from native.bench.stage import GIB, Stage, resident
from tests.native.certificates import Authority
from tests.qemu import guests
from tests.qemu.hosts import CREDENTIALS, credentials, encrypt, server_credentials
from tests.qemu.split import MIB, where

MEMORY = 2 * GIB
LIMIT = 1 * GIB
FILLED = 1536 * MIB
WAYS = ("plain", "TLS", "TLS and sealed pages")


def run(hosts: Hosts, rounds: int, quick: bool) -> list[dict]:
    """A row for each way and round."""
    return [{"round": number, "way": way, **move(hosts, way)} for number in range(rounds) for way in WAYS]


def move(hosts: Hosts, way: str) -> dict:
    with tempfile.TemporaryDirectory(prefix="smemv-") as folder:
        options, devices = ["--plain"], []
        if way != "plain":
            names = ",".join(["DNS:main-1", *(f"IP:{host.address}" for host in hosts.hosts)])
            certificates = Authority(Path(folder, "ca")).issue(Path(folder, "host"), "main-1", names)
            peers = Path(folder, "peers")
            peers.write_text("main-1\n", encoding="utf-8")
            options = ["--tls", str(certificates), "--peers", str(peers)]
            devices = [*credentials(certificates), *server_credentials(certificates)]
        stage = Stage(hosts, guests.linux(f"smemv.fill={FILLED // MIB}M smemv.rate=10"), MEMORY, options,
                      lambda: (devices, ()))  # fmt: skip
        with stage:
            source = stage.start_running(0, stock=False)
            target = stage.start(1, stock=False, incoming=True)
            further = {}
            if way != "plain":
                encrypt(source, target)
                further = {"tls_creds": CREDENTIALS, **({"seal": True} if "sealed" in way else {})}
            stage.aim(source, LIMIT, [2], **further)
            moved = stage.move(source, target, 1)
            stage.check(target)
            beside = resident(target.process.pid) - target.resident()
            stored = sum(host["remote"] for host in where(target)["sub-hosts"])
            server = resident(stage.memservers[2].process.pid)
    gib = FILLED / GIB
    print(f"  {way}: {moved.total_time:.0f} ms, seconds a GiB: "
          + ", ".join(f"{name} {seconds / gib:.2f}" for name, seconds in moved.processor.items()))  # fmt: skip
    return {
        "total_time_ms": moved.total_time,
        **{f"{name.split()[0]}_s_a_gib": seconds / gib for name, seconds in moved.processor.items()},
        "main_host_beside_guest_mib": beside / MIB,
        "memserver_beside_pages_mib": (server - stored) / MIB,
    }
