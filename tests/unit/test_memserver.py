# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import MemserverError, MemserverRefused
from ansible_collections.smemv.kvm.plugins.module_utils.memserver import MemserverClient

STAT = {
    "capacity": 1000,
    "reserved": 300,
    "used": 20,
    "version": "1",
    "sessions": [{"id": "ab" * 16, "name": "big", "reserved": 300, "used": 20, "epoch": 1, "connections": 4}],
}
PAYLOAD_SIZES = {1: 16, 8: 0, 9: 48}


class Script:
    """A server that answers each request with what the test says for its opcode: (status, payload), or raw bytes."""

    def __init__(self, answers):
        self.answers = answers
        self.requests = []

    def serve(self, listener):
        connection, _address = listener.accept()
        with contextlib.suppress(ConnectionError), connection, connection.makefile("rwb") as stream:
            while len(header := stream.read(16)) == 16:
                _magic, opcode, _count, tag, _address = struct.unpack("<BBHIQ", header)
                self.requests.append((header, stream.read(PAYLOAD_SIZES[opcode])))
                answer = self.answers[opcode]
                if isinstance(answer, tuple):
                    status, payload = answer
                    answer = struct.pack("<BBHIII", 0x73, opcode, status, tag, len(payload), 0) + payload
                stream.write(answer)
                stream.flush()
                if not answer:
                    return


@pytest.fixture
def memserver():
    """Starts a Script on loopback; gives (address, script)."""
    threads = []
    listeners = []

    def start(**answers):
        numbers = {"hello": 1, "stat": 8, "close": 9}
        script = Script({1: (0, bytes(16)), **{numbers[name]: answer for name, answer in answers.items()}})
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=script.serve, args=(listener,), daemon=True)
        thread.start()
        threads.append(thread)
        listeners.append(listener)
        return listener.getsockname(), script

    yield start
    for listener, thread in zip(listeners, threads):
        thread.join(5)
        listener.close()


def test_stat_is_in_bytes(memserver):
    address, script = memserver(stat=(0, json.dumps(STAT).encode()))
    with MemserverClient(address) as client:
        stat = client.stat()
    assert stat["capacity"] == 1000 * 4096
    assert stat["reserved"] == 300 * 4096
    assert stat["used"] == 20 * 4096
    assert stat["huge_pages"] is False
    session = stat["sessions"][0]
    assert (session["reserved"], session["used"], session["epoch"]) == (300 * 4096, 20 * 4096, 1)
    header, hello = script.requests[0]
    assert header == bytes([0x53, 1, 0, 0, 1, 0, 0, 0]) + bytes(8)
    assert hello == bytes([1, 0, 1, 0]) + bytes(12)


def test_close_asks_for_no_token(memserver):
    address, script = memserver(close=(0, b""))
    with MemserverClient(address) as client:
        client.close_session("0123456789abcdef" * 2)
    assert script.requests[1][1] == bytes.fromhex("0123456789abcdef" * 2) + bytes(32)


def test_a_refusal_has_the_protocols_name_and_the_servers_words(memserver):
    address, _script = memserver(close=(3, b"not over TCP"))
    refusal = pytest.raises(MemserverRefused, match="refused CLOSE: DENIED: not over TCP")
    with MemserverClient(address) as client, refusal as error:
        client.close_session("00" * 16)
    assert error.value.status == "DENIED"


def test_another_version(memserver):
    address, _script = memserver(hello=(2, b"only version 7"))
    with pytest.raises(MemserverRefused, match="VERSION: only version 7"), MemserverClient(address):
        pass


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        struct.pack("<BBHIII", 0x73, 8, 0, 99, 0, 0),
        struct.pack("<BBHIII", 0x73, 8, 0, 2, 0xFFFFFFFF, 0),
    ],
)
def test_what_is_no_memserver(memserver, answer):
    address, _script = memserver(stat=answer)
    with MemserverClient(address) as client, pytest.raises(MemserverError, match="is not a memserver"):
        client.stat()


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b'{"capacity": "much"}', b"\xff"])
def test_a_stat_that_cannot_be_read(memserver, payload):
    address, _script = memserver(stat=(0, payload))
    with MemserverClient(address) as client, pytest.raises(MemserverError, match="cannot be read"):
        client.stat()


def test_a_memserver_that_goes_away(memserver):
    address, _script = memserver(stat=b"")
    with MemserverClient(address) as client, pytest.raises(MemserverError, match="closed the connection"):
        client.stat()


def test_a_memserver_that_does_not_answer():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(MemserverError, match="does not answer"),
        MemserverClient(listener.getsockname(), timeout=0.1),
    ):
        pass


def test_no_memserver(tmp_path):
    with pytest.raises(MemserverError, match=r"no memserver answers on .*control\.sock"):
        MemserverClient(str(tmp_path / "control.sock")).__enter__()
