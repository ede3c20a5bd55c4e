# SPDX-License-Identifier: GPL-3.0-or-later
"""Malformed input: a clear answer, one line in the journal, and the connection ends; nobody else notices."""

from __future__ import annotations

import os
import random

import pytest
import wire_client as wire
from wire_client import Session, page_of, request

SOMEONE = Session()
LIMIT = 1 << 56

MALFORMED = {
    "magic": request(wire.SYNC, magic=0x54),
    "response magic": request(wire.SYNC, magic=wire.MAGIC_RESPONSE),
    "opcode 0": request(0),
    "opcode 13": request(13),
    "opcode 255": request(255),
    "count of SYNC": request(wire.SYNC, count=1),
    "address of SYNC": request(wire.SYNC, address=4096),
    "count of HELLO": request(wire.HELLO, count=1),
    "count of CLAIM": request(wire.CLAIM, count=1, address=1),
    "count of RESERVE": request(wire.RESERVE, count=1, address=1),
    "GET of 0": request(wire.GET, 0),
    "GET of 257": request(wire.GET, 257),
    "PUT of 65535": request(wire.PUT, 65535),
    "odd address": request(wire.GET, 1, address=1),
    "address above": request(wire.GET, 1, address=LIMIT),
    "end above": request(wire.GET, 2, address=LIMIT - 4096),
    "address at the top": request(wire.DROP, 256, address=(1 << 64) - 4096),
    "flags of OPEN": request(wire.OPEN, payload=wire.open_payload(SOMEONE, 1, flags=2)),
    "reserved of OPEN": request(wire.OPEN, payload=wire.open_payload(SOMEONE, 1, reserved=1)),
    "name with a slash": request(wire.OPEN, payload=wire.open_payload(Session(name=b"../x"), 1)),
    "name with a newline": request(wire.OPEN, payload=wire.open_payload(Session(name=b"x\n<0>lie"), 1)),
    "name without an end": request(wire.OPEN, payload=wire.open_payload(Session(name=80 * b"x"), 1)),
    "name that goes on": request(wire.OPEN, payload=wire.open_payload(Session(name=b"x\0y"), 1)),
    "COPY of 0": request(wire.COPY, 0),
    "COPY of 257": request(wire.COPY, 257),
    "HELLO again": request(wire.HELLO, payload=wire.hello_payload()),
}


def check_refused(memserver, connection) -> None:
    response = connection.receive()
    assert response.status == wire.BAD_REQUEST
    assert response.tag == 0
    assert 10 < len(response.text) <= 512
    assert connection.is_closed()
    lines = [line for line in memserver.log.read_text().splitlines() if "BAD_REQUEST" in line]
    assert len(lines) == 1
    assert response.text in lines[0]


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(memserver, name):
    with memserver.connect() as c, memserver.connect() as other:
        c.send(MALFORMED[name])
        check_refused(memserver, c)
        assert other.sync().status == wire.OK


@pytest.mark.parametrize("flags", [0, 2, 3, 1 << 31 | 1])
def test_malformed_entries_of_a_put(memserver, session, flags):
    pages = [page_of(1), page_of(2)]
    with memserver.attached(session) as c, memserver.connect() as other:
        other.attach(session)
        c.send(request(wire.PUT, 2, payload=wire.put_payload(pages, flags=flags)))
        check_refused(memserver, c)
        assert other.pages(0, 2) == [None, None]


MALFORMED_COPIES = {
    "port 0": wire.copy_payload(bytes(16), 0, b"127.0.0.1"),
    "no host": wire.copy_payload(bytes(16), 1, b""),
    "host without an end": wire.copy_payload(bytes(16), 1, b"x" * 256),
    "host that goes on": wire.copy_payload(bytes(16), 1, b"x\0y"),
    "host with a space": wire.copy_payload(bytes(16), 1, b"127.0.0.1 22"),
    "reserved field": wire.copy_payload(bytes(16), 1, b"127.0.0.1", (1, 0)),
    "other reserved field": wire.copy_payload(bytes(16), 1, b"127.0.0.1", (0, 1)),
}


@pytest.mark.parametrize("name", MALFORMED_COPIES)
def test_malformed_copies(memserver, session, name):
    with memserver.attached(session) as c:
        c.send(request(wire.COPY, 1, payload=MALFORMED_COPIES[name]))
        check_refused(memserver, c)


def test_hello_with_its_reserved_field(memserver):
    with wire.Connection(memserver.address) as c:
        c.send(request(wire.HELLO, payload=wire.hello_payload(reserved=1)))
        check_refused(memserver, c)


def test_the_answer_arrives_although_much_more_was_sent(memserver):
    with memserver.connect() as c:
        c.send(b"\0" * 400000)
        check_refused(memserver, c)


def test_answers_before_the_malformed_one_arrive(memserver, session):
    with memserver.attached(session) as c:
        c.send(b"".join(request(wire.SYNC, tag=tag) for tag in range(100)) + request(99, tag=1))
        assert [c.receive().status for _ in range(100)] == 100 * [wire.OK]
        assert c.receive().status == wire.BAD_REQUEST
        assert c.is_closed()


def test_noise(memserver, session):
    """Whatever comes, others are served, and the memserver ends cleanly."""
    rng = random.Random(1)
    with memserver.attached(session) as other:
        other.put(0, [page_of(7)])
        for _ in range(200):
            with wire.Connection(memserver.address) as c:
                noise = bytearray(os.urandom(rng.randrange(1, 400)))
                if rng.random() < 0.8:
                    noise[:0] = request(wire.HELLO, payload=wire.hello_payload())
                if rng.random() < 0.8:
                    noise[-20:] = request(rng.randrange(14), rng.randrange(3)) + bytes(rng.randrange(9000))
                c.send(noise)
        assert other.pages(0) == [page_of(7)]
