# SPDX-License-Identifier: GPL-3.0-or-later
"""The links of several hosts for the programs of this machine: the network namespaces of a lab."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from lab import labs, network


@dataclass(frozen=True)
class Host:
    """A host's link: a command to run programs by that are to have it, its address, and its namespace."""

    address: str
    prefix: tuple[str, ...]
    namespace: str


@dataclass(frozen=True)
class Hosts:
    """Several hosts, and the namespace of the bridge that they are on, which has an address there too."""

    hosts: list[Host]
    bridge: str
    lab: str

    def set_rate(self, number: int, rate: int) -> None:
        """Limit the link of one host to so many Mbit/s; 0 takes the limit away."""
        with labs.locked():
            network.set_rate(self.lab, f"host-{number + 1}", rate)

    def set_rates(self, rate: int, first: int = 0) -> None:
        """Limit the link of each host from that one on, as set_rate()."""
        for number in range(first, len(self.hosts)):
            self.set_rate(number, rate)

    def set_link(self, number: int, state: str) -> None:
        """The cable of one host: up, down, mute or deaf, as network.set_link() has it."""
        with labs.locked():
            network.set_link(self.lab, f"host-{number + 1}", state)


@contextlib.contextmanager
def up(count: int, rate: int = 0) -> Iterator[Hosts]:
    """That many hosts, each with a link of so many Mbit/s; 0 is no limit.

    Meanwhile SIGTERM ends the program as an exception does, so that it leaves nothing.
    """
    name = f"m{os.getpid()}"
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with labs.locked():
            lab = labs.up(name, hosts=count, rate=rate)
        hosts = [
            Host(host.address, ("nsenter", f"--net=/run/netns/{host.machine}"), host.machine) for host in lab.hosts()
        ]
        yield Hosts(hosts, network.namespace(name), name)
    finally:
        with labs.locked():
            labs.down(name)
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)
