# SPDX-License-Identifier: GPL-3.0-or-later
"""Each request against a real memserver: what it does, and what it refuses."""

from __future__ import annotations

import os

import pytest
import wire_client as wire
from wire_client import Session, page_of

PAGES = [page_of(i) for i in range(1, 9)]
HIGHEST_PAGE = (1 << 56) // wire.PAGE - 1


def test_hello_answers_version_1(memserver):
    with wire.Connection(memserver.address) as c:
        response = c.hello(1, 7)
    assert response.status == wire.OK
    assert response.payload == wire.hello_payload(1, 0)


@pytest.mark.parametrize("versions", [(2, 9), (0, 0), (2, 1)])
def test_hello_without_a_common_version_ends_the_connection(memserver, versions):
    with wire.Connection(memserver.address) as c:
        assert c.hello(*versions).status == wire.VERSION
        assert c.is_closed()


def test_anything_before_hello_ends_the_connection(memserver, session):
    for opcode in range(wire.OPEN, wire.RESERVE + 1):
        with wire.Connection(memserver.address) as c:
            count = 1 if opcode in (wire.PUT, wire.GET, wire.DROP) else 0
            c.send(wire.request(opcode, count))
            assert c.receive().status == wire.VERSION
            assert c.is_closed()


def test_open_twice_is_once(memserver, session):
    with memserver.connect() as c:
        assert c.open(session, 10).value == 1
        assert c.open(session, 10).value == 1
        assert c.stat()["reserved"] == 10


def test_open_of_another_is_refused(memserver, session):
    with memserver.connect() as c:
        assert c.open(session, 10).status == wire.OK
        assert c.open(session, 11).status == wire.EXISTS
        assert c.open(session.other_main(), 10).status == wire.EXISTS
        assert c.open(Session(id=session.id), 10).status == wire.EXISTS


def test_reservations_fill_the_capacity_to_the_page(memserver):
    capacity = 64 * 256
    first, second, third = Session(), Session(), Session()
    with memserver.connect() as c:
        assert c.open(first, capacity - 5).status == wire.OK
        assert c.open(second, 6).status == wire.NO_SPACE
        assert c.open(second, 5).status == wire.OK
        assert c.open(third, 1).status == wire.NO_SPACE
        assert c.open(third, 0).status == wire.OK
        assert c.open(Session(), (1 << 64) - 1).status == wire.NO_SPACE
        assert c.close(second).status == wire.OK
        assert c.stat()["reserved"] == capacity - 5


def test_attach_asks_for_session_token_and_epoch(memserver, session):
    with memserver.connect() as c:
        assert c.attach(session).status == wire.NO_SESSION
        assert c.open(session, 1).status == wire.OK
        assert c.attach(Session(id=session.id)).status == wire.DENIED
        for place in (0, 15, 31):
            almost = bytearray(session.token)
            almost[place] ^= 1
            assert c.attach(Session(id=session.id, token=bytes(almost))).status == wire.DENIED
        assert c.attach(session.other_main(), epoch=2).status == wire.STALE
        assert c.get(0).status == wire.DENIED
        assert c.attach(session).value == 1


def test_requests_for_pages_need_a_session(memserver):
    with memserver.connect() as c:
        assert c.put(0, PAGES).status == wire.DENIED
        assert c.get(0).status == wire.DENIED
        assert c.drop(0).status == wire.DENIED
        assert c.claim(1).status == wire.DENIED
        assert c.reserve(1).status == wire.DENIED
        assert c.sync().status == wire.OK


def test_what_was_put_is_got(memserver, session):
    with memserver.attached(session) as c:
        assert c.put(100, PAGES).status == wire.OK
        assert c.pages(98, 12) == [None, None, *PAGES, None, None]
        assert c.pages(103) == [PAGES[3]]


def test_pages_all_over_the_address_space(memserver, session):
    places = [0, 63, 64, 511, 512, (1 << 18) - 1, 1 << 18, 1 << 27, 1 << 36, HIGHEST_PAGE - 1, HIGHEST_PAGE]
    with memserver.attached(session) as c:
        for place in places:
            assert c.put(place, [page_of(place)]).status == wire.OK
        for place in places:
            assert c.pages(place) == [page_of(place)]
        assert c.get(HIGHEST_PAGE - 255, 256).count == 2
        assert c.stat()["used"] == len(places)


def test_the_largest_request(memserver, session):
    pages = [page_of(i) for i in range(256)]
    with memserver.attached(session) as c:
        assert c.put(77, pages).status == wire.OK
        assert c.pages(77, 256) == pages


def test_a_page_is_replaced_and_counted_once(memserver, session):
    with memserver.attached(session) as c:
        c.put(0, PAGES)
        assert c.put(2, [page_of(99)]).status == wire.OK
        assert c.pages(0, 8) == [*PAGES[:2], page_of(99), *PAGES[3:]]
        assert c.stat()["sessions"][0]["used"] == 8


def test_drop(memserver, session):
    with memserver.attached(session) as c:
        c.put(0, PAGES)
        assert c.drop(6, 10).value == 2
        assert c.drop(6, 10).value == 0
        assert c.pages(0, 8) == [*PAGES[:6], None, None]
        assert c.stat()["used"] == 6
        assert c.put(6, PAGES[6:]).status == wire.OK
        assert c.pages(0, 8) == PAGES


def test_a_wrong_checksum_stores_nothing_of_the_request(memserver, session):
    crcs = [wire.crc32c(page) for page in PAGES]
    crcs[-1] ^= 1
    with memserver.attached(session) as c:
        c.put(0, [page_of(55)])
        assert c.put(0, PAGES, crcs).status == wire.CHECKSUM
        assert c.pages(0, 8) == [page_of(55)] + 7 * [None]
        assert c.put(0, PAGES).status == wire.OK


def test_a_put_beyond_the_reservation_stores_nothing(memserver, session):
    with memserver.attached(session, reserve=8) as c:
        assert c.put(0, PAGES[:6]).status == wire.OK
        assert c.put(4, [page_of(i) for i in range(50, 55)]).status == wire.RESERVATION
        assert c.pages(0, 10) == [*PAGES[:6], None, None, None, None]
        assert c.put(6, PAGES[6:]).status == wire.OK
        assert c.put(8, [page_of(1)]).status == wire.RESERVATION
        assert c.put(0, PAGES[::-1]).status == wire.OK, "replacing needs no new page"
        assert c.pages(0, 8) == PAGES[::-1]


def test_a_full_session_can_be_replaced_over_and_over(memserver, session):
    with memserver.attached(session, reserve=300) as c:
        for version in range(5):
            assert c.put(0, [page_of(version << 20 | i) for i in range(256)]).status == wire.OK
            assert c.put(256, [page_of(version << 20 | i) for i in range(44)]).status == wire.OK
        assert c.pages(0, 256) == [page_of(4 << 20 | i) for i in range(256)]


def test_reserve_up_and_down(memserver, session):
    with memserver.attached(session, reserve=4) as c:
        assert c.put(0, PAGES).status == wire.RESERVATION
        assert c.reserve(8).value == 8
        assert c.put(0, PAGES).status == wire.OK
        assert c.reserve(7).status == wire.RESERVATION
        assert c.reserve(64 * 256 + 1).status == wire.NO_SPACE
        assert c.reserve((1 << 64) - 1).status == wire.NO_SPACE
        assert c.stat()["reserved"] == 8
        c.drop(0, 5)
        assert c.reserve(3).value == 3
        assert c.put(0, PAGES[:1]).status == wire.RESERVATION
        assert c.reserve(1000).value == 1000
        assert c.put(0, [page_of(i) for i in range(200)]).status == wire.OK
        assert c.pages(0, 200) == [page_of(i) for i in range(200)]
        assert c.stat()["reserved"] == 1000


def test_close_frees_the_reservation_and_ends_the_others(memserver, session):
    with memserver.attached(session) as c, memserver.connect() as other:
        c.put(0, PAGES)
        other.attach(session)
        assert other.close(Session(id=session.id)).status == wire.DENIED
        assert other.close(session).status == wire.OK
        assert c.get(0).status == wire.NO_SESSION
        assert c.put(0, PAGES).status == wire.NO_SESSION
        assert c.drop(0).status == wire.NO_SESSION
        assert c.claim(1).status == wire.NO_SESSION
        assert c.reserve(1).status == wire.NO_SESSION
        assert c.close(session).status == wire.OK, "what is closed already is OK"
        assert c.stat()["reserved"] == 0
        assert c.open(session, 16).value == 1
        assert c.attach(session).status == wire.OK
        assert c.pages(0, 8) == 8 * [None]


def test_sessions_know_nothing_of_each_other(memserver):
    one, two = Session(), Session()
    with memserver.attached(one) as a, memserver.attached(two) as b:
        a.put(0, PAGES)
        assert b.pages(0, 8) == 8 * [None]
        b.put(0, PAGES[::-1])
        assert a.pages(0, 8) == PAGES
        assert b.attach(one).status == wire.OK, "the last ATTACH counts"
        assert b.pages(0, 8) == PAGES


def test_stat_shows_a_peer_its_own_session_only(memserver):
    mine, another = Session(name=b"mine"), Session(name=b"another-1.x_y")
    with memserver.attached(mine, 5) as c, memserver.attached(another, 7), memserver.connect() as stranger:
        c.put(0, PAGES[:2])
        stat = c.stat()
        assert {key: stat[key] for key in ("capacity", "reserved", "used")} == {
            "capacity": 64 * 256,
            "reserved": 12,
            "used": 2,
        }
        assert stat["huge_pages"] is False
        assert stat["sessions"] == [
            {"id": mine.id.hex(), "name": "mine", "reserved": 5, "used": 2, "epoch": 1, "connections": 1}
        ]
        assert stranger.stat()["sessions"] == []
        assert stranger.stat()["reserved"] == 12


def test_the_control_socket_shows_and_closes_all(memserver):
    mine, another = Session(name=b"mine"), Session(name=b"another")
    with memserver.attached(mine, 5), memserver.attached(another, 7), memserver.connect_local() as c:
        assert {s["name"] for s in c.stat()["sessions"]} == {"mine", "another"}
        assert c.close(Session(id=mine.id, token=wire.NO_TOKEN)).status == wire.OK
        assert [s["name"] for s in c.stat()["sessions"]] == ["another"]
        assert c.get(0).status == wire.DENIED, "pages need a token here too"
        assert c.attach(Session(id=another.id, token=wire.NO_TOKEN)).status == wire.DENIED


def test_the_control_socket_is_roots(memserver):
    assert os.stat(memserver.control).st_mode & 0o777 == 0o600


def test_every_refusal_is_a_line_in_the_journal(memserver, session):
    with memserver.attached(session) as c:
        c.claim(9)
        c.put(0, PAGES, [1] * 8)
    lines = [line for line in memserver.log.read_text().splitlines() if "refused" in line]
    assert len(lines) == 2
    assert "CLAIM" in lines[0] and "STALE" in lines[0] and "session vm" in lines[0]
    assert "PUT" in lines[1] and "CHECKSUM" in lines[1]
    assert all(line.startswith("<4>127.0.0.1: ") for line in lines)
