# SPDX-License-Identifier: GPL-3.0-or-later
"""Many requests outstanding, in one write or byte by byte: answered in their order."""

from __future__ import annotations

import random
import threading

import wire_client as wire
from wire_client import page_of


def test_a_batch_in_one_write(memserver, session):
    with memserver.attached(session) as c:
        batch = b""
        for tag in range(500):
            page = page_of(tag)
            batch += wire.request(wire.PUT, 1, 2 * tag, tag % 7 * wire.PAGE, wire.put_payload([page]))
            batch += wire.request(wire.GET, 1, 2 * tag + 1, tag % 7 * wire.PAGE)
        sender = threading.Thread(target=c.send, args=(batch,))
        sender.start()
        for tag in range(500):
            put, get = c.receive(), c.receive()
            assert (put.opcode, put.status, put.tag) == (wire.PUT, wire.OK, 2 * tag)
            assert get.tag == 2 * tag + 1
            assert wire.split_pages(get, 1) == [page_of(tag)], "a GET sees the PUT before it, and not the one behind"
        sender.join()


def test_requests_in_pieces(memserver, session):
    rng = random.Random(5)
    with memserver.attached(session) as c:
        stream = b"".join(
            [
                wire.request(wire.PUT, 20, 1, 0, wire.put_payload([page_of(i) for i in range(20)])),
                wire.request(wire.SYNC, 0, 2),
                wire.request(wire.PUT, 1, 3, 5 * wire.PAGE, wire.put_payload([page_of(99)])),
                wire.request(wire.GET, 20, 4),
                wire.request(wire.DROP, 3, 5),
                wire.request(wire.STAT, 0, 6),
            ]
        )
        at = 0
        while at < len(stream):
            size = rng.choice((1, 2, 15, 16, 17, 255, 256, 257, 4095, 9000))
            c.send(stream[at : at + size])
            at += size
        responses = [c.receive() for _ in range(6)]
        assert [r.tag for r in responses] == [1, 2, 3, 4, 5, 6]
        assert all(r.status == wire.OK for r in responses)
        pages = [page_of(i) for i in range(20)]
        pages[5] = page_of(99)
        assert wire.split_pages(responses[3], 20) == pages


def test_slow_requests_keep_their_place(memserver, session):
    """OPEN, RESERVE and CLOSE are done elsewhere, but answered in order."""
    requests = [
        wire.request(wire.OPEN, 0, 1, 0, wire.open_payload(session, 64)),
        wire.request(wire.ATTACH, 0, 2, 0, wire.attach_payload(session)),
        wire.request(wire.PUT, 1, 3, 0, wire.put_payload([page_of(3)])),
        wire.request(wire.RESERVE, 0, 4, 500),
        wire.request(wire.GET, 1, 5),
        wire.request(wire.RESERVE, 0, 6, 1),
        wire.request(wire.CLOSE, 0, 7, 0, session.id + session.token),
        wire.request(wire.GET, 1, 8),
    ]
    with memserver.connect() as c:
        c.send(b"".join(requests))
        responses = [c.receive() for _ in requests]
    assert [r.tag for r in responses] == list(range(1, 9))
    assert [r.status for r in responses] == 7 * [wire.OK] + [wire.NO_SESSION]
    assert wire.split_pages(responses[4], 1) == [page_of(3)]


def test_requests_sent_before_the_end_are_answered(memserver, session):
    with memserver.attached(session) as c:
        c.send(b"".join(wire.request(wire.SYNC, 0, tag) for tag in range(1000)))
        c.socket.shutdown(1)
        assert [c.receive().tag for _ in range(1000)] == list(range(1000))
        assert c.is_closed()


def test_small_requests_by_the_thousand(memserver, session):
    count = 50000
    with memserver.attached(session) as c:
        batch = b"".join(wire.request(wire.DROP, 256, tag) for tag in range(count))
        sender = threading.Thread(target=c.send, args=(batch,))
        sender.start()
        assert [c.receive().tag for _ in range(count)] == list(range(count))
        sender.join()


def test_put_to_nobody_is_passed_over(memserver, session):
    """The payload of a PUT that is refused by its header is no request."""
    poison = wire.request(wire.CLOSE, 0, 9, 0, session.id + session.token)
    payload = (wire.put_payload([page_of(0)] * 3) + poison)[: 3 * 4104]
    with memserver.connect() as c:
        c.open(session, 8)
        c.send(wire.request(wire.PUT, 3, 1, 0, payload.ljust(3 * 4104, b"S")) + wire.request(wire.SYNC, 0, 2))
        assert c.receive().status == wire.DENIED
        assert c.receive().tag == 2
        assert c.attach(session).status == wire.OK
