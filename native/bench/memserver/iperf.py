# SPDX-License-Identifier: GPL-3.0-or-later
"""What iperf3 moves over loopback."""

from __future__ import annotations

import json
import subprocess


def bytes_per_second(port: int, connections: int, seconds: float) -> float:
    with subprocess.Popen(
        ["iperf3", "--server", "--one-off", "--bind", "127.0.0.1", "--port", str(port), "--forceflush"],
        stdout=subprocess.PIPE, text=True,
    ) as server:
        next(line for line in server.stdout if "listening" in line)
        client = subprocess.run(
            ["iperf3", "--client", "127.0.0.1", "--port", str(port), "--parallel", str(connections),
             "--time", str(max(1, round(seconds))), "--json"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        server.stdout.read()
    return json.loads(client.stdout)["end"]["sum_received"]["bits_per_second"] / 8
