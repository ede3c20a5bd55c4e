# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers that are measured in the same way: each on a port of its own, without anything on disk."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

BUILD = Path(__file__).resolve().parents[3] / "build/native"
MEMORY = 256 << 20
THREADS = 4


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def commands(port: int) -> dict[str, list[str]]:
    """By the name of the protocol that it speaks, how each server is started."""
    redis = next(name for name in ("valkey-server", "redis-server") if shutil.which(name))
    return {
        "memserver": [
            f"{BUILD}/memserver/smemv-memserver", f"--listen=127.0.0.1:{port}", f"--capacity={MEMORY}",
            f"--workers={THREADS}",
        ],
        "memcached": [
            "memcached", "--user=nobody", "--listen=127.0.0.1", f"--port={port}", f"--memory-limit={MEMORY >> 20}",
            f"--threads={THREADS}",
        ],
        "redis": [
            redis, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no",
            "--maxmemory", str(MEMORY),
        ],
    }  # fmt: skip


class Server:
    def __init__(self, protocol: str):
        self._protocol = protocol
        self._port = free_port()
        self._process = subprocess.Popen(
            commands(self._port)[protocol],
            cwd=tempfile.gettempdir(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self):
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self._port)):
                return self
            assert self._process.poll() is None and time.monotonic() < deadline, f"{self._protocol} does not start"

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()

    def measure(self, seconds: float) -> dict:
        """What kv_bench finds out about it."""
        bench = subprocess.run(
            [BUILD / "bench/kv_bench", self._protocol, "127.0.0.1", str(self._port), str(self._process.pid),
             str(seconds)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return json.loads(bench.stdout)
