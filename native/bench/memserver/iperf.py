# SPDX-License-Identifier: GPL-3.0-or-later
"""What iperf3 moves, over loopback or between two hosts of a lab."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence


def bytes_per_second(
    port: int,
    connections: int,
    seconds: float,
    address: str = "127.0.0.1",
    server_prefix: Sequence[str] = (),
    client_prefix: Sequence[str] = (),
) -> float:
    """From a client to a server, each run by a command that puts it onto its host."""
    with subprocess.Popen(
        [*server_prefix, "iperf3", "--server", "--one-off", "--bind", address, "--port", str(port), "--forceflush"],
        stdout=subprocess.PIPE, text=True,
    ) as server:
        next(line for line in server.stdout if "listening" in line)
        client = subprocess.run(
            [*client_prefix, "iperf3", "--client", address, "--port", str(port), "--parallel", str(connections),
             "--time", str(max(1, round(seconds))), "--json"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        server.stdout.read()
    return json.loads(client.stdout)["end"]["sum_received"]["bits_per_second"] / 8
