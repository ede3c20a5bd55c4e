# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers that are slow, many, silent or gone cost the others nothing."""

from __future__ import annotations

import contextlib
import pathlib
import re
import resource
import socket
import statistics
import threading
import time

import pytest
import wire_client as wire
from wire_client import Session, page_of

FLOOD = 10000
MIB = 1 << 20


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * FLOOD:
        pytest.skip(f"needs a limit of {2 * FLOOD} descriptors, has {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident(memserver) -> int:
    """Bytes of memory of the process that are its own alone."""
    status = pathlib.Path(f"/proc/{memserver.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


def get_time(connection, rounds: int = 200) -> float:
    """Median seconds of one GET of one page."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        assert connection.pages(0) == [page_of(1)]
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def test_ten_thousand_connections_with_half_a_header(start, many_descriptors, session):
    memserver = start(options=("--max-connections", "12000", "--max-connections-per-peer", "11000"))
    hello = wire.request(wire.HELLO, payload=wire.hello_payload())
    half = wire.request(wire.SYNC)[:8]
    with memserver.attached(session) as c:
        c.put(0, [page_of(1)])
        alone = get_time(c)
        before = resident(memserver)
        flood = []
        try:
            for _ in range(FLOOD):
                flood.append(socket.create_connection(memserver.address))
                flood[-1].sendall(hello + half)
            for one in flood:
                assert one.recv(64)[:2] == bytes([wire.MAGIC_RESPONSE, wire.HELLO])
            assert resident(memserver) - before < FLOOD * 8 * 1024
            assert get_time(c) < 3 * alone + 0.001
            for one in flood[::1000]:
                one.sendall(wire.request(wire.SYNC)[8:])
                assert one.recv(64)[:2] == bytes([wire.MAGIC_RESPONSE, wire.SYNC])
        finally:
            for one in flood:
                one.close()


def test_one_peer_cannot_take_all_connections(start, session):
    memserver = start(options=("--max-connections", "40", "--max-connections-per-peer", "30"))
    flood = [wire.Connection(memserver.address, source="127.0.0.2") for _ in range(60)]
    try:
        with memserver.attached(session) as c:
            assert c.sync().status == wire.OK
        assert sum(one.is_closed() for one in flood[30:]) == 30
        for one in flood[:30]:
            assert one.hello().status == wire.OK
        assert "this peer has as many connections" in memserver.log.read_text()
        flood[0].socket.close()
        while memserver.connect_local().sync().status != wire.OK:
            pass
    finally:
        for one in flood:
            one.socket.close()


def test_who_does_not_say_hello_is_gone_after_a_while(memserver):
    with (
        wire.Connection(memserver.address) as silent,
        wire.Connection(memserver.address) as half,
        memserver.connect() as idle,
    ):
        half.send(wire.request(wire.HELLO)[:5])
        assert silent.is_closed()
        assert half.is_closed()
        assert idle.sync().status == wire.OK


def test_a_reader_that_stops_is_not_read_from(memserver, session):
    with memserver.attached(session) as c, memserver.connect() as greedy, memserver.connect() as patient:
        c.put(0, [page_of(1)] * 256)
        greedy.attach(session)
        patient.attach(session)
        alone = get_time(c)
        before = resident(memserver)
        gets = b"".join(wire.request(wire.GET, 256, tag) for tag in range(100))
        patient.send(gets)
        greedy.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while True:
                greedy.send(gets * 100)
        assert resident(memserver) - before < 8 * MIB, "what is kept of answers and requests is bounded"
        assert get_time(c) < 3 * alone + 0.001
        for tag in range(100):
            response = patient.receive()
            assert (response.tag, response.count) == (tag, 256)


def test_half_a_put_holds_up_nobody(memserver, session):
    with memserver.attached(session) as c, memserver.connect() as slow:
        c.put(0, [page_of(1)])
        slow.attach(session)
        put = wire.request(wire.PUT, 256, 5, 0, wire.put_payload([page_of(2)] * 256))
        slow.send(put[:500000])
        assert c.put(0, [page_of(3)]).status == wire.OK
        assert c.pages(0) == [page_of(3)]
        slow.send(put[500000:])
        assert slow.receive().status == wire.OK
        assert c.pages(0, 256) == [page_of(2)] * 256


def test_many_half_puts_hold_up_nobody(memserver, session):
    """Not in a session that is full either, where a PUT needs slots beyond the reservation."""
    pages = [page_of(2)] * 256
    put = wire.request(wire.PUT, 256, 5, 0, wire.put_payload(pages))
    with memserver.attached(session, reserve=256) as c:
        assert c.put(0, [page_of(1)] * 256).status == wire.OK
        slow = [memserver.connect() for _ in range(20)]
        for one in slow:
            one.attach(session)
            one.send(put[:500000])
        for version in range(3, 6):
            assert c.put(0, [page_of(version)] * 256).status == wire.OK
            assert c.pages(0, 256) == [page_of(version)] * 256
        for one in slow[::2]:
            one.socket.close()
        for one in slow[1::2]:
            one.send(put[500000:])
            assert one.receive().status == wire.OK
            one.socket.close()
        assert c.pages(0, 256) == pages
        assert c.stat()["used"] == 256


def test_a_flood_of_refusals_is_no_flood_of_lines(memserver, session):
    count = 30000
    with memserver.attached(session) as c:
        flood = b"".join(wire.request(wire.CLAIM, 0, tag, 77) for tag in range(count))
        sender = threading.Thread(target=c.send, args=(flood,))
        sender.start()
        for _ in range(count):
            assert c.receive().status == wire.STALE
        sender.join()
        time.sleep(1.1)  # so that a line may be logged again
        c.claim(78)
    lines = [line for line in memserver.log.read_text().splitlines() if "CLAIM" in line]
    assert 10 < len(lines) < 300
    unlogged = [int(number) for line in lines for number in re.findall(r"and (\d+) before it", line)]
    assert len(lines) + sum(unlogged) == count + 1


def test_a_large_session_is_opened_beside_the_others(start, session):
    """Committing gigabytes takes its time, but not the time of those who page."""
    memserver = start(capacity=2 << 30, workers=1)
    with memserver.attached(session) as c, memserver.connect() as opener:
        c.put(0, [page_of(1)])
        big = Session()
        opener.send(wire.request(wire.OPEN, 0, 1, 0, wire.open_payload(big, (1 << 30) // wire.PAGE)))
        served = 0
        opener.socket.setblocking(False)
        opened = False
        while not opened:
            assert c.pages(0) == [page_of(1)]
            served += 1
            with contextlib.suppress(BlockingIOError):
                opened = bool(opener.socket.recv(1, socket.MSG_PEEK))
        opener.socket.settimeout(20)
        assert opener.receive().status == wire.OK
        assert served > 20, "one at most, if the worker were busy with the OPEN"
        assert opener.close(big).status == wire.OK


def test_connections_that_vanish_let_go_of_the_session(memserver, session):
    with memserver.attached(session) as c:
        for _ in range(300):
            gone = memserver.connect()
            gone.attach(session)
            gone.send(wire.request(wire.PUT, 256)[:12])
            gone.socket.close()
        while c.stat()["sessions"][0]["connections"] != 1:
            time.sleep(0.01)
        assert c.close(session).status == wire.OK


@pytest.mark.parametrize("claimed", [2, 256])
def test_a_put_of_fewer_pages_than_it_says(memserver, session, claimed):
    """What follows is taken for the rest of it: it fails by itself, and stores nothing."""
    rest = b"".join(wire.request(wire.SYNC, tag=tag) for tag in range(claimed * wire.PAGE // 16 + 100))
    with memserver.attached(session) as c, memserver.connect() as liar:
        c.put(0, [page_of(1)] * 256)
        liar.attach(session)
        liar.send(wire.request(wire.PUT, claimed, 7, 0, wire.put_payload([page_of(2)])) + rest)
        response = liar.receive()
        assert response.tag == 7
        assert response.status in (wire.BAD_REQUEST, wire.CHECKSUM)
        assert c.pages(0, 256) == [page_of(1)] * 256


def test_sessions_without_traffic_cost_the_others_nothing(start, session):
    memserver = start(capacity=600 * wire.PAGE)
    with memserver.attached(session) as c:
        c.put(0, [page_of(1)])
        alone = get_time(c)
        before = resident(memserver)
        idle = [(memserver.attached(one, 1), one) for one in (Session() for _ in range(200))]
        for connection, _ in idle:
            connection.put(0, [page_of(2)])
        assert resident(memserver) - before < len(idle) * 64 * 1024
        assert get_time(c) < 3 * alone + 0.001
        time.sleep(12)  # longer than whoever says no HELLO is waited for
        for connection, one in idle:
            assert connection.pages(0) == [page_of(2)]
            assert connection.close(one).status == wire.OK
