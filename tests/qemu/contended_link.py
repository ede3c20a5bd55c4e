# SPDX-License-Identifier: GPL-3.0-or-later
"""A link to a memserver on which claims come close together: who has claimed waits until somebody else has, too."""

from __future__ import annotations

import socket
import threading

from tests.native import wire_client as wire
from tests.qemu.lossy_link import LossyLink

# Where nobody else claims, it goes on after so many seconds.
PATIENCE = 0.5


class ContendedLink(LossyLink):
    """What a connection sends after a claim arrives once another connection has claimed since."""

    def __init__(self, host: str, port: int) -> None:
        self._claims = 0
        self._claimed = threading.Condition()
        self._claim_of: dict[socket.socket, int] = {}  # the number of the claim that it sent last
        super().__init__(host, port)

    def _before_request(self, source: socket.socket, data: bytes) -> None:
        with self._claimed:
            mine = self._claim_of.pop(source, None)
            if mine is not None:
                self._claimed.wait_for(lambda: self._claims > mine, PATIENCE)
            # Nothing is sent with it: its answer is awaited.
            if len(data) == wire.REQUEST.size and data[:2] == bytes([wire.MAGIC_REQUEST, wire.CLAIM]):
                self._claims += 1
                self._claim_of[source] = self._claims
                self._claimed.notify_all()
