# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the wire protocol (native/wire/protocol.md) that operating a memserver wants: HELLO, STAT, CLOSE."""

from __future__ import annotations

import json
import socket
import struct

from ansible_collections.smemv.kvm.plugins.module_utils.errors import MemserverError, MemserverRefused
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import PAGE

CONTROL_SOCKET = "/run/smemv-memserver/control.sock"
PORT = 4770
VERSION = 1

_REQUEST = struct.Struct("<BBHIQ")
_RESPONSE = struct.Struct("<BBHIII")
_HELLO = struct.Struct("<HHIQ")
_CLOSE = struct.Struct("<16s32s")
_REQUEST_MAGIC = 0x53
_RESPONSE_MAGIC = 0x73
_MAX_PAYLOAD = 256 * (8 + PAGE)
_OPCODES = {"HELLO": 1, "STAT": 8, "CLOSE": 9}
_STATUS = (
    "OK",
    "BAD_REQUEST",
    "VERSION",
    "DENIED",
    "NO_SESSION",
    "EXISTS",
    "NO_SPACE",
    "RESERVATION",
    "STALE",
    "CHECKSUM",
    "INTERNAL",
    "DRAINING",
)


class MemserverClient:
    """One connection; a context manager.

    :param address: path of the control socket, or (host, port).
    :param timeout: seconds that the memserver may take for each answer.
    """

    def __init__(self, address=CONTROL_SOCKET, timeout=10.0):
        self._address = address
        self._timeout = timeout
        self._socket = None
        self._tag = 0

    def __enter__(self):
        try:
            if isinstance(self._address, str):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._socket.settimeout(self._timeout)
                self._socket.connect(self._address)
            else:
                self._socket = socket.create_connection(self._address, self._timeout)
            self._call("HELLO", _HELLO.pack(VERSION, VERSION, 0, 0))
        except OSError as error:
            self.close()
            raise MemserverError(f"no memserver answers on {self._where()}: {error}") from error
        except MemserverError:
            self.close()
            raise
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def stat(self):
        """The memserver's own account, in bytes: capacity, reserved, used, huge_pages, version, sessions."""
        try:
            stat = json.loads(self._call("STAT"))
            return {
                "version": stat["version"],
                # One of before has none.
                "huge_pages": stat.get("huge_pages", False),
                "sessions": [_in_bytes(session, ("reserved", "used")) for session in stat["sessions"]],
                **_in_bytes(
                    {key: stat[key] for key in ("capacity", "reserved", "used")}, ("capacity", "reserved", "used")
                ),
            }
        except (ValueError, KeyError, TypeError) as error:
            raise MemserverError(f"the memserver's STAT cannot be read: {error!r}") from error

    def close_session(self, session_id):
        """End a session and free its memory. On the control socket only: it asks for no token.

        :param session_id: in hex, as STAT gives it.
        """
        self._call("CLOSE", _CLOSE.pack(bytes.fromhex(session_id), bytes(32)))

    def _where(self):
        return self._address if isinstance(self._address, str) else "{}:{}".format(*self._address)

    def _call(self, opcode, payload=b""):
        self._tag += 1
        try:
            self._socket.sendall(_REQUEST.pack(_REQUEST_MAGIC, _OPCODES[opcode], 0, self._tag, 0) + payload)
            magic, answered, status, tag, length, _count = _RESPONSE.unpack(self._receive(_RESPONSE.size))
            if magic != _RESPONSE_MAGIC or answered != _OPCODES[opcode] or tag != self._tag or length > _MAX_PAYLOAD:
                raise MemserverError(f"what answers on {self._where()} is not a memserver")
            answer = self._receive(length)
        except socket.timeout as error:
            raise MemserverError(f"the memserver on {self._where()} does not answer") from error
        except OSError as error:
            raise MemserverError(f"the memserver on {self._where()} went away: {error}") from error
        if status:
            name = _STATUS[status] if status < len(_STATUS) else str(status)
            raise MemserverRefused(opcode, name, answer.decode("utf-8", "replace"))
        return answer

    def _receive(self, length):
        data = b""
        while len(data) < length:
            part = self._socket.recv(length - len(data))
            if not part:
                raise MemserverError(f"the memserver on {self._where()} closed the connection")
            data += part
        return data


def _in_bytes(record, keys):
    return {key: value * PAGE if key in keys else value for key, value in record.items()}
