# SPDX-License-Identifier: GPL-3.0-or-later
"""A link to a memserver on which claims come close together: who has claimed waits until somebody else has, too."""

from __future__ import annotations

import contextlib
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
        super().__init__(host, port)

    def _pass(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        if answers:
            super()._pass(source, target, answers)
            return
        mine = None
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                with self._claimed:
                    if mine is not None:
                        self._claimed.wait_for(lambda count=mine: self._claims > count, PATIENCE)
                        mine = None
                    # Nothing is sent with it: its answer is awaited.
                    if len(data) == wire.REQUEST.size and data[:2] == bytes([wire.MAGIC_REQUEST, wire.CLAIM]):
                        self._claims += 1
                        mine = self._claims
                        self._claimed.notify_all()
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
