# SPDX-License-Identifier: GPL-3.0-or-later
"""A session that is opened early: pages come while its memory is made ready."""

from __future__ import annotations

import threading

import pytest
import wire_client as wire
from full_host import limit_memory
from wire_client import Session, page_of

PAGES = 12000
BATCH = 250
FULL = 20 << 20  # bytes that a file may have: not as many as a chunk, so that no slot gets memory any more


def put_all(memserver, session: Session, first: int, failures: list[BaseException]) -> None:
    """Every other batch from the first on."""
    try:
        with memserver.connect() as c:
            assert c.attach(session).status == wire.OK
            for page in range(first * BATCH, PAGES, 2 * BATCH):
                assert c.put(page, [page_of(page + n) for n in range(BATCH)]).status == wire.OK
    except BaseException as failure:  # whatever it is, the test has failed
        failures.append(failure)


def check_all(c) -> None:
    for page in range(0, PAGES, BATCH):
        assert c.pages(page, BATCH) == [page_of(page + n) for n in range(BATCH)]


def test_what_is_granted_is_accounted_for_before_there_is_memory(start, session):
    memserver = start(capacity=PAGES * wire.PAGE)
    with memserver.connect() as c:
        assert c.open(session, PAGES, wire.EARLY).value == 1
        assert c.stat()["reserved"] == PAGES
        assert memserver.committed() < 2000
        assert c.open(session, PAGES, wire.EARLY).value == 1, "the OPEN whose answer was lost"
        assert c.open(Session(), 1, wire.EARLY).status == wire.NO_SPACE
        assert c.attach(session).status == wire.OK
        assert c.reserve(PAGES).value == PAGES
        assert PAGES < memserver.committed() < PAGES + 1000
        assert c.reserve(PAGES).value == PAGES
        assert c.reserve(100).value == 100
        assert memserver.committed() < 1000
        assert c.close(session).status == wire.OK
        assert memserver.committed() == 0


@pytest.mark.parametrize("binary", ["memserver_binary", "memserver_tsan"])
def test_pages_come_meanwhile(start, session, request, binary):
    memserver = start(request.getfixturevalue(binary), workers=3)
    failures: list[BaseException] = []
    with memserver.connect() as c:
        assert c.open(session, PAGES, wire.EARLY).status == wire.OK
        assert c.attach(session).status == wire.OK
        threads = [threading.Thread(target=put_all, args=(memserver, session, n, failures)) for n in range(2)]
        for thread in threads:
            thread.start()
        c.send(wire.request(wire.RESERVE, address=PAGES))
        assert c.receive().value == PAGES
        for thread in threads:
            thread.join()
        assert not failures, failures
        assert c.put(PAGES, [page_of(1)]).status == wire.RESERVATION
        check_all(c)


def test_pages_come_before(memserver, session):
    """Nothing is lost of a client that has the memory made ready by its pages alone."""
    failures: list[BaseException] = []
    with memserver.connect() as c:
        assert c.open(session, PAGES, wire.EARLY).status == wire.OK
        assert c.attach(session).status == wire.OK
        for first in range(2):
            put_all(memserver, session, first, failures)
        assert not failures, failures
        assert c.reserve(PAGES).value == PAGES
        check_all(c)


def test_a_host_that_has_less_than_it_grants(start, manager, session):
    memserver = start(manager=manager)
    with memserver.connect() as c:
        assert c.open(session, PAGES, wire.EARLY).status == wire.OK
        assert c.attach(session).status == wire.OK
        for page in range(0, 2000, BATCH):
            assert c.put(page, [page_of(n % 300) for n in range(page, page + BATCH)]).status == wire.OK
        limit_memory(memserver.process.pid, FULL)
        response = c.reserve(PAGES)
        assert response.status == wire.NO_SPACE
        assert "no memory" in response.text
        there = c.stat()["reserved"]
        assert 2000 <= there < 4000
        for page in range(there):
            assert c.put(page, [page_of(page % 300)]).status == wire.OK
        assert c.put(PAGES, [page_of(1)]).status == wire.RESERVATION
    # What is reserved is there, also for the next process.
    memserver.kill()
    memserver = start(manager=manager)
    with memserver.connect() as c:
        assert c.attach(session).status == wire.OK
        assert c.stat()["reserved"] == there
        for page in range(there):
            assert c.pages(page) == [page_of(page % 300)]
        assert c.close(session).status == wire.OK
        assert c.stat()["reserved"] == 0


def test_pages_for_which_the_host_has_no_memory(memserver, session):
    with memserver.connect() as c:
        assert c.open(session, PAGES, wire.EARLY).status == wire.OK
        assert c.attach(session).status == wire.OK
        limit_memory(memserver.process.pid, FULL)
        page = 0
        while (response := c.put(page, [page_of(1)] * BATCH)).status == wire.OK:
            page += BATCH
        assert page > BATCH
        assert response.status == wire.NO_SPACE
        assert "no memory" in response.text
        limit_memory(memserver.process.pid, None)
        assert c.put(page, [page_of(2)] * BATCH).status == wire.OK
        assert c.reserve(PAGES).value == PAGES


def test_restart_before_the_memory_is_ready(start, manager, session):
    memserver = start(manager=manager)
    with memserver.connect() as c:
        assert c.open(session, PAGES, wire.EARLY).status == wire.OK
        assert c.attach(session).status == wire.OK
        assert c.put(0, [page_of(1)]).status == wire.OK
    memserver.kill()
    memserver = start(manager=manager)
    assert memserver.committed() > PAGES
    with memserver.connect() as c:
        assert c.attach(session).status == wire.OK
        assert c.reserve(PAGES).value == PAGES
        assert c.pages(0) == [page_of(1)]


def test_closed_while_the_memory_is_made_ready(memserver, session):
    with memserver.connect() as c, memserver.connect() as other:
        for _ in range(20):
            assert c.open(session, PAGES, wire.EARLY).status == wire.OK
            assert c.attach(session).status == wire.OK
            c.send(wire.request(wire.RESERVE, address=PAGES))
            assert other.close(session).status == wire.OK
            assert c.receive().status in (wire.OK, wire.NO_SESSION)
            assert other.stat()["reserved"] == 0
            assert memserver.committed() == 0
