# SPDX-License-Identifier: GPL-3.0-or-later
"""A link to a memserver that can be cut so that a request still arrives, and its answer does not."""

from __future__ import annotations

import contextlib
import socket
import threading


class LossyLink:
    """Passes connections on to a memserver, from a port of its own; a context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._memserver = (host, port)
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self._cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> LossyLink:
        return self

    def __exit__(self, *exception: object) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut(self) -> None:
        """Each connection ends with its next answer, and no new one is passed on."""
        self._cut.set()

    def mend(self) -> None:
        """New connections are passed on again."""
        self._cut.clear()

    def _before_request(self, source: socket.socket, data: bytes) -> None:
        """What a connection has sent is about to be passed on."""

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._cut.is_set():
                    client.close()
                    continue
                server = socket.create_connection(self._memserver)
                for source, target, answers in ((client, server, False), (server, client, True)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._pass, args=(source, target, answers), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(1 << 18)) and not (answers and self._cut.is_set()):
                if not answers:
                    self._before_request(source, data)
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
