# SPDX-License-Identifier: GPL-3.0-or-later
"""Speaks the whole wire protocol, also wrongly: for tests only.

One class for a connection, with a method for each opcode; and below it the
frames as bytes, for tests that break them. Numbers are those of
native/wire/protocol.md.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import ssl
import struct

PAGE = 4096
MAX_PAGES = 256

HELLO, OPEN, ATTACH, PUT, GET, DROP, SYNC, STAT, CLOSE, CLAIM, RESERVE, COPY = range(1, 13)

OK, BAD_REQUEST, VERSION, DENIED, NO_SESSION, EXISTS = range(6)
NO_SPACE, RESERVATION, STALE, CHECKSUM, INTERNAL, DRAINING, COPY_FAILED = range(6, 13)

MAGIC_REQUEST = 0x53
MAGIC_RESPONSE = 0x73
REQUEST = struct.Struct("<BBHIQ")
RESPONSE = struct.Struct("<BBHIII")
ENTRY = struct.Struct("<II")
PRESENT = 1
EARLY = 1

REPLY_SIZES = {HELLO: 16, OPEN: 8, ATTACH: 8, PUT: 0, DROP: 8, SYNC: 0, CLOSE: 0, CLAIM: 8, RESERVE: 8, COPY: 8}

NO_TOKEN = bytes(32)


def _crc_table():
    table = []
    for byte in range(256):
        crc = byte
        for _bit in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC_TABLE = _crc_table()
_CRC_SEEN: dict[bytes, int] = {}


def crc32c(data: bytes) -> int:
    """The checksum of a page. Slow, so it is remembered for each content."""
    seen = _CRC_SEEN.get(data)
    if seen is None:
        crc = 0xFFFFFFFF
        for byte in data:
            crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
        seen = _CRC_SEEN[data] = crc ^ 0xFFFFFFFF
    return seen


def page_of(number: int) -> bytes:
    """A page whose content is known by a number below 2^64."""
    return struct.pack("<Q", number) * (PAGE // 8)


def request(
    opcode: int, count: int = 0, tag: int = 0, address: int = 0, payload: bytes = b"", magic: int = MAGIC_REQUEST
) -> bytes:
    return REQUEST.pack(magic, opcode, count, tag, address) + payload


def hello_payload(lowest: int = 1, highest: int = 1, features: int = 0, reserved: int = 0) -> bytes:
    return struct.pack("<HHIQ", lowest, highest, features, reserved)


def open_payload(session: Session, reserve: int, flags: int = 0, reserved: int = 0) -> bytes:
    return struct.pack(
        "<16s32s16sQII80s", session.id, session.token, session.holder, reserve, flags, reserved, session.name
    )


def attach_payload(session: Session, epoch: int = 1) -> bytes:
    return struct.pack("<16s32s16sQ", session.id, session.token, session.holder, epoch)


def put_payload(pages: list[bytes], crcs: list[int] | None = None, flags: int = PRESENT) -> bytes:
    crcs = crcs or [crc32c(page) for page in pages]
    return b"".join(ENTRY.pack(flags, crc) for crc in crcs) + b"".join(pages)


def copy_payload(holder: bytes, port: int, host: bytes, reserved: tuple[int, int] = (0, 0)) -> bytes:
    return struct.pack("<16sHHI256s", holder, port, *reserved, host)


@dataclasses.dataclass
class Session:
    """Who one is towards a memserver."""

    id: bytes = dataclasses.field(default_factory=lambda: os.urandom(16))
    token: bytes = dataclasses.field(default_factory=lambda: os.urandom(32))
    holder: bytes = dataclasses.field(default_factory=lambda: os.urandom(16))
    name: bytes = b"vm"

    def other_main(self) -> Session:
        """The same session as another main host sees it."""
        return dataclasses.replace(self, holder=os.urandom(16))


@dataclasses.dataclass
class Response:
    opcode: int
    status: int
    tag: int
    count: int
    payload: bytes

    @property
    def value(self) -> int:
        return struct.unpack("<Q", self.payload)[0]

    @property
    def text(self) -> str:
        return self.payload.decode()


class Closed(Exception):
    """The memserver closed the connection."""


class Connection:
    """One connection; requests may be sent on and answers read apart from each other."""

    def __init__(
        self, address, timeout: float = 20, source: str | None = None, tls: ssl.SSLContext | None = None
    ):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout, (source, 0) if source else None)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=address[0])
        self.tag = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = self.socket.recv(size - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Closed(f"{len(data)} of {size} bytes came")
            data += part
        return bytes(data)

    def receive(self) -> Response:
        magic, opcode, status, tag, length, count = RESPONSE.unpack(self.read(RESPONSE.size))
        assert magic == MAGIC_RESPONSE
        assert length <= 1052672
        if status == OK and opcode in REPLY_SIZES:
            assert length == REPLY_SIZES[opcode]
        return Response(opcode, status, tag, count, self.read(length))

    def call(self, opcode: int, count: int = 0, address: int = 0, payload: bytes = b"") -> Response:
        self.tag += 1
        self.send(request(opcode, count, self.tag, address, payload))
        response = self.receive()
        assert (response.opcode, response.tag) == (opcode, self.tag)
        return response

    def is_closed(self) -> bool:
        try:
            self.read(1)
        except Closed:
            return True
        return False

    def hello(self, lowest: int = 1, highest: int = 1) -> Response:
        return self.call(HELLO, payload=hello_payload(lowest, highest))

    def open(self, session: Session, reserve: int, flags: int = 0) -> Response:
        return self.call(OPEN, payload=open_payload(session, reserve, flags))

    def attach(self, session: Session, epoch: int = 1) -> Response:
        return self.call(ATTACH, payload=attach_payload(session, epoch))

    def put(self, page: int, pages: list[bytes], crcs: list[int] | None = None, flags: int = PRESENT) -> Response:
        return self.call(PUT, len(pages), page * PAGE, put_payload(pages, crcs, flags))

    def get(self, page: int, count: int = 1) -> Response:
        return self.call(GET, count, page * PAGE)

    def pages(self, page: int, count: int = 1) -> list[bytes | None]:
        """What is stored, each held against its checksum; None where nothing is."""
        response = self.get(page, count)
        assert response.status == OK, response.text
        return split_pages(response, count)

    def drop(self, page: int, count: int = 1) -> Response:
        return self.call(DROP, count, page * PAGE)

    def sync(self) -> Response:
        return self.call(SYNC)

    def claim(self, expected: int) -> Response:
        return self.call(CLAIM, address=expected)

    def reserve(self, pages: int) -> Response:
        return self.call(RESERVE, address=pages)

    def copy(self, page: int, count: int, holder: bytes, target: tuple[str, int]) -> Response:
        host, port = target
        return self.call(COPY, count, page * PAGE, copy_payload(holder, port, host.encode()))

    def close(self, session: Session) -> Response:
        return self.call(CLOSE, payload=session.id + session.token)

    def stat(self) -> dict:
        response = self.call(STAT)
        assert response.status == OK, response.text
        return json.loads(response.payload)


def split_pages(response: Response, count: int) -> list[bytes | None]:
    """The pages in a GET's response, each held against its checksum."""
    pages = []
    offset = count * ENTRY.size
    for i in range(count):
        flags, crc = ENTRY.unpack_from(response.payload, i * ENTRY.size)
        if flags == 0:
            assert crc == 0
            pages.append(None)
            continue
        assert flags == PRESENT
        page = response.payload[offset : offset + PAGE]
        offset += PAGE
        assert crc32c(page) == crc
        pages.append(page)
    assert offset == len(response.payload)
    assert response.count == sum(page is not None for page in pages)
    return pages
