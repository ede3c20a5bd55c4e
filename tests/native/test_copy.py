# SPDX-License-Identifier: GPL-3.0-or-later
"""COPY: pages go from one memserver straight to another."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
import wire_client as wire
from wire_client import Session, page_of

LINK_TIME = 10  # seconds that a COPY may wait for the other memserver


@pytest.fixture
def source(start):
    return start(name="source")


@pytest.fixture
def target(start):
    return start(name="target")


def test_pages_arrive_and_stay(source, target, session):
    with source.attached(session) as here, target.attached(session) as there:
        here.put(3, [page_of(n) for n in range(200)])
        assert here.copy(3, 200, session.holder, target.address).value == 200
        assert there.pages(3, 200) == [page_of(n) for n in range(200)]
        assert here.pages(3, 200) == [page_of(n) for n in range(200)]
        assert (there.stat()["used"], here.stat()["used"]) == (200, 200)


def test_a_whole_request_of_256(source, target, session):
    with source.attached(session) as here, target.attached(session) as there:
        here.put(100, [page_of(n) for n in range(256)])
        assert here.copy(100, 256, session.holder, target.address).value == 256
        assert there.pages(100, 256) == [page_of(n) for n in range(256)]


def test_a_host_by_its_name(source, target, session):
    with source.attached(session) as here, target.attached(session) as there:
        here.put(0, [page_of(1)])
        assert here.copy(0, 1, session.holder, ("localhost", target.address[1])).value == 1
        assert there.pages(0) == [page_of(1)]


@pytest.mark.parametrize("stored", [set(), {0}, {255}, set(range(0, 256, 2)), set(range(1, 256, 3)), {7, 8, 9, 200}])
def test_holes_are_passed_over(source, target, session, stored):
    with source.attached(session) as here, target.attached(session) as there:
        there.put(0, [page_of(1000)] * 256)
        for page in stored:
            here.put(page, [page_of(page)])
        assert here.copy(0, 256, session.holder, target.address).value == len(stored)
        assert there.pages(0, 256) == [page_of(n if n in stored else 1000) for n in range(256)]


def test_a_link_is_kept_for_the_next_copy(source, target, session):
    with source.attached(session) as here, target.attached(session) as there:
        here.put(0, [page_of(1)])
        for _ in range(3):
            assert here.copy(0, 1, session.holder, target.address).value == 1
            assert there.stat()["sessions"][0]["connections"] == 2
        here.put(0, [page_of(2)])
        assert here.copy(0, 1, session.holder, ("localhost", target.address[1])).value == 1
        assert there.pages(0) == [page_of(2)]
        assert wait_for_connections(there, 2), "the link before is closed"


def wait_for_connections(connection, count: int) -> bool:
    end = time.monotonic() + 10
    while connection.stat()["sessions"][0]["connections"] != count:
        if time.monotonic() > end:
            return False
    return True


def test_another_session_gets_a_link_of_its_own(source, target, session):
    other = Session()
    with source.attached(session) as here, target.attached(session), target.attached(other) as there:
        here.put(0, [page_of(1)])
        assert here.copy(0, 1, session.holder, target.address).value == 1
        here.open(other, 10)
        here.attach(other)
        here.put(0, [page_of(2)])
        assert here.copy(0, 1, other.holder, target.address).value == 1
        assert there.pages(0) == [page_of(2)]


def test_who_does_not_hold_the_session_here_may_not_copy(source, target, session):
    second = session.other_main()
    with source.attached(session) as here, target.attached(session) as there, source.connect() as new:
        here.put(0, [page_of(1)])
        new.attach(second)
        assert new.copy(0, 1, session.holder, target.address).status == wire.STALE
        new.claim(1)
        assert here.copy(0, 1, session.holder, target.address).status == wire.STALE
        assert there.pages(0) == [None]
        assert new.copy(0, 1, session.holder, target.address).value == 1


def test_a_connection_that_is_not_attached_may_not_copy(source, target, session):
    with source.connect() as c:
        assert c.copy(0, 1, session.holder, target.address).status == wire.DENIED


def fails(connection, target, holder: bytes, *reasons: str) -> None:
    """A COPY of page 0 fails, says where to and why, and the connection goes on."""
    response = connection.copy(0, 1, holder, target)
    assert response.status == wire.COPY_FAILED
    assert response.text.startswith(f"copy to {target[0]} port {target[1]}: ")
    for reason in reasons:
        assert reason in response.text
    assert connection.pages(0) == [page_of(1)]


def test_who_does_not_hold_the_session_there_may_not_copy(source, target, session):
    second = session.other_main()
    with source.attached(session) as here, target.attached(session), target.connect() as new:
        here.put(0, [page_of(1)])
        fails(here, target.address, second.holder, "STALE")
        assert here.copy(0, 1, session.holder, target.address).value == 1
        new.attach(second)
        new.claim(1)
        here.put(0, [page_of(1)])
        fails(here, target.address, session.holder, "STALE", "another main host holds the session")
        assert here.copy(0, 1, second.holder, target.address).value == 1, "whatever the epoch"


def test_another_token_and_no_session_there(source, target, session):
    impostor = dataclasses.replace(session, token=os.urandom(32))
    with source.attached(session) as here:
        here.put(0, [page_of(1)])
        fails(here, target.address, session.holder, "NO_SESSION")
        with target.attached(impostor) as there:
            fails(here, target.address, session.holder, "DENIED", "token")
            assert there.pages(0) == [None]


def test_a_target_that_is_down(source, session):
    with source.attached(session) as here, socket.socket() as bound:
        here.put(0, [page_of(1)])
        bound.bind(("127.0.0.1", 0))
        fails(here, bound.getsockname(), session.holder, "refused")


def test_a_target_that_has_no_name(source, session):
    with source.attached(session) as here:
        here.put(0, [page_of(1)])
        fails(here, ("no-such-host.invalid", 1), session.holder, "no such host")


def test_a_target_that_is_silent_costs_a_bounded_time(source, session):
    with source.attached(session) as here, source.connect() as other, socket.create_server(("127.0.0.1", 0)) as silent:
        here.put(0, [page_of(1)])
        begin = time.monotonic()
        here.send(copy_request(session, silent.getsockname()))
        for _ in range(20):
            brief = Session()
            assert other.open(brief, 1).status == wire.OK
            assert other.close(brief).status == wire.OK
        assert time.monotonic() - begin < LINK_TIME / 2, "meanwhile sessions open and close"
        response = here.receive()
        assert LINK_TIME - 1 < time.monotonic() - begin < LINK_TIME + 5
        assert response.status == wire.COPY_FAILED
        assert f"within {LINK_TIME} seconds" in response.text
        assert here.pages(0) == [page_of(1)]


def test_it_stops_at_once_while_copies_wait(source, session):
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(source.attached(session))
        here.put(0, [page_of(1)])
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for _ in range(40):
            waiting = stack.enter_context(source.connect())
            waiting.attach(session)
            waiting.send(copy_request(session, silent.getsockname()))
        silent.accept()
        begin = time.monotonic()
        source.stop()
        assert time.monotonic() - begin < LINK_TIME / 2


def test_an_answer_that_is_none(source, session):
    with source.attached(session) as here, socket.create_server(("127.0.0.1", 0)) as server:
        here.put(0, [page_of(1)])

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        fails(here, server.getsockname(), session.holder, "a wrong answer")
        thread.join()


def test_a_target_whose_reservation_is_too_small(source, target, session):
    with source.attached(session) as here, target.attached(session, 2) as there:
        here.put(0, [page_of(1)] * 4)
        response = here.copy(0, 4, session.holder, target.address)
        assert response.status == wire.COPY_FAILED
        assert "RESERVATION" in response.text
        assert there.pages(0, 4) == [None] * 4
        assert there.reserve(4).status == wire.OK
        assert here.copy(0, 4, session.holder, target.address).value == 4


def test_a_target_that_dies_on_the_way(source, target, start, session):
    with source.attached(session) as here:
        here.put(0, [page_of(n) for n in range(256)])
        with target.attached(session):
            assert here.copy(0, 256, session.holder, target.address).value == 256
            target.process.send_signal(signal.SIGSTOP)
            _pid, status = os.waitpid(target.process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), "the signal takes effect some time after it is sent"
            here.send(copy_request(session, target.address, 256))
            wait_until_sent_to(target)
            target.kill()
        response = here.receive()
        assert response.status == wire.COPY_FAILED
        assert "lost" in response.text
        assert here.pages(0, 256) == [page_of(n) for n in range(256)]
        again = start(name="again")
        with again.attached(session) as there:
            assert here.copy(0, 256, session.holder, again.address).value == 256
            assert there.pages(0, 256) == [page_of(n) for n in range(256)]


def copy_request(session, target, count: int = 1) -> bytes:
    host, port = target
    return wire.request(wire.COPY, count, payload=wire.copy_payload(session.holder, port, host.encode()))


def wait_until_sent_to(memserver) -> None:
    """Until bytes wait to be read on one of its sockets."""
    waiting = ["ss", "-Htn", f"sport = :{memserver.address[1]}"]
    end = time.monotonic() + 10
    while not any(int(line.split()[1]) for line in subprocess.check_output(waiting, text=True).splitlines()):
        assert time.monotonic() < end


def test_a_link_that_broke_while_it_was_idle(source, target, start, session):
    with source.attached(session) as here:
        here.put(0, [page_of(1)])
        with target.attached(session):
            assert here.copy(0, 1, session.holder, target.address).value == 1
        port = target.address[1]
        target.stop()
        fails(here, target.address, session.holder, "cannot connect")
        again = start(name="again", options=("--listen", f"127.0.0.1:{port}"))
        with again.attached(session) as there:
            assert here.copy(0, 1, session.holder, target.address).value == 1
            assert there.pages(0) == [page_of(1)]


def test_a_page_that_is_put_meanwhile_arrives_whole(source, target, session):
    rounds = 150
    with source.attached(session) as here, source.connect() as writer, target.attached(session) as there:
        writer.attach(session)
        here.put(0, [page_of(0)] * 64)

        def write():
            for n in range(1, rounds):
                assert writer.put(0, [page_of(n)] * 64).status == wire.OK

        thread = threading.Thread(target=write)
        thread.start()
        known = {page_of(n): n for n in range(rounds)}
        seen = [0] * 64
        while thread.is_alive():
            assert here.copy(0, 64, session.holder, target.address).value == 64
            arrived = [known[page] for page in there.pages(0, 64)]
            assert all(new >= old for new, old in zip(arrived, seen))
            seen = arrived
        thread.join()
        assert here.copy(0, 64, session.holder, target.address).value == 64
        assert there.pages(0, 64) == [page_of(rounds - 1)] * 64


@pytest.mark.parametrize("binary", ["memserver_binary", "memserver_tsan"])
def test_eight_at_once(start, request, session, binary):
    """Eight connections copy to two memservers, and a ninth to one that is silent."""
    program = request.getfixturevalue(binary)
    source, first, second = (start(program, name=name) for name in ("source", "first", "second"))
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        here = enter(source.attached(session, 2048))
        there = [enter(target.attached(session, 2048)) for target in (first, second)]
        silent = enter(socket.create_server(("127.0.0.1", 0)))
        hanging = enter(source.connect())
        hanging.attach(session)
        hanging.send(copy_request(session, silent.getsockname()))
        for page in range(0, 2048, 256):
            here.put(page, [page_of(page + n) for n in range(256)])
        failures = []

        def copy(number: int, c):
            target = (first, second)[number % 2]
            for page in range(number * 256, number * 256 + 256, 16):
                if c.copy(page, 16, session.holder, target.address).value != 16:
                    failures.append(page)

        begin = time.monotonic()
        threads = []
        for number in range(8):
            c = enter(source.connect())
            c.attach(session)
            threads.append(threading.Thread(target=copy, args=(number, c)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - begin < LINK_TIME, "nobody waits for the one that hangs"
        assert not failures
        for number in range(8):
            expected = [page_of(number * 256 + n) for n in range(256)]
            assert there[number % 2].pages(number * 256, 256) == expected
        assert hanging.receive().status == wire.COPY_FAILED


def test_a_link_counts_as_a_connection_of_its_peer(start, target, session):
    source = start(name="source", options=("--max-connections-per-peer", "2"))
    with source.attached(session) as here, target.attached(session):
        here.put(0, [page_of(1)])
        with source.connect():
            fails(here, target.address, session.holder, "connections")
        assert copies_in_time(here, session, target), "the other connection is gone"


def copies_in_time(connection, session, target) -> bool:
    end = time.monotonic() + 10
    while connection.copy(0, 1, session.holder, target.address).status != wire.OK:
        if time.monotonic() > end:
            return False
    return True
