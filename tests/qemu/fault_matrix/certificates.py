# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates of a scene's hosts, of which one expires soon."""

from __future__ import annotations

import time
from pathlib import Path

from lab.links import Hosts as Links
from tests.native.certificates import Authority
from tests.qemu.hosts import credentials, server_credentials

# Seconds: until the VM runs where the operation finds it, and not much more.
LIFE = 60
DAY = 86400


class Certificates:
    """By the hosts' numbers; that of one is good for LIFE seconds, the others' for a day."""

    def __init__(self, folder: Path, links: Links, short: int) -> None:
        folder.mkdir()
        self._authority = Authority(folder / "ca")
        self._links = links
        self._short = short
        self._folders = [folder / name(number) for number in range(len(links.hosts))]
        for number in range(len(links.hosts)):
            self._issue(number, LIFE if number == short else DAY)
        self._end = time.time() + LIFE
        self._peers = folder / "peers"
        self._peers.write_text("".join(f"{name(number)}\n" for number in range(len(links.hosts))))

    def _issue(self, number: int, seconds: float) -> None:
        names = f"DNS:{name(number)},IP:{self._links.hosts[number].address}"
        self._authority.issue(self._folders[number], name(number), names, days=seconds / DAY)

    def renew(self) -> None:
        """A new one in its place. QEMU reads it with each connection; a memserver is to be told."""
        self._issue(self._short, DAY)

    def wait_until_one_expires(self) -> None:
        """It has to be good until now, so that it is the operation which meets it."""
        left = self._end - time.time()
        assert left > 0, "the machine is too slow: the certificate has expired before"
        # It is good for all of its last second.
        time.sleep(left + 1)

    def memserver(self, number: int) -> list[object]:
        """Options of a memserver on that host."""
        return ["--tls", self._folders[number], "--peers", self._peers]

    def vm(self, number: int) -> list[str]:
        """Options of a VM on that host."""
        return [*credentials(self._folders[number]), *server_credentials(self._folders[number])]


def name(number: int) -> str:
    """What the host is called in its certificate."""
    return f"host-{number}"
