# SPDX-License-Identifier: GPL-3.0-or-later
"""A memserver's operator who wants to know: listens in on plain connections, and learns who the VM is to it."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.native import wire_client as wire

# HELLO with its payload, and the header of ATTACH or OPEN: both go on with id, token and, for ATTACH, holder.
BEFORE = wire.REQUEST.size + 16 + wire.REQUEST.size
OPCODE = wire.REQUEST.size + 16 + 1
ENOUGH = BEFORE + 16 + 32 + 16


class Tap:
    """Passes connections on to a memserver, from a port of its own; a context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._memserver = (host, port)
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._attached: list[wire.Session] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *exception: object) -> None:
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def pose_as_the_vm(self, epoch: int) -> wire.Connection:
        """A connection that has all rights of the QEMU that attached last."""
        return self._attach(self._attached[-1], epoch)

    def claim_elsewhere(self, epoch: int) -> None:
        """Another main host claims the session, which is in that epoch."""
        with self._attach(self._attached[-1].other_main(), epoch) as connection:
            assert connection.claim(epoch).status == wire.OK

    def _attach(self, session: wire.Session, epoch: int) -> wire.Connection:
        connection = wire.Connection(self._memserver)
        assert connection.hello().status == wire.OK
        assert connection.attach(session, epoch).status == wire.OK
        return connection

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._memserver)
                self._sockets += [client, server]
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass_requests, args=(client, server), daemon=True).start()
                threading.Thread(target=_pass, args=(server, client), daemon=True).start()

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        head = b""
        with contextlib.suppress(OSError):
            while len(head) < ENOUGH and (data := client.recv(ENOUGH)):
                server.sendall(data)
                head += data
        if len(head) >= ENOUGH and head[OPCODE] == wire.ATTACH:
            one, two, three = BEFORE + 16, BEFORE + 48, BEFORE + 64
            self._attached.append(wire.Session(head[BEFORE:one], head[one:two], head[two:three]))
        _pass(client, server)


def _pass(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 18):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
