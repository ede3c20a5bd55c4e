# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions outlive the process: whatever ends it, the next one has every page that was acknowledged."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import threading
import time

import pytest
import wire_client as wire
from wire_client import Session, page_of

BINARIES = ["memserver_plain", "memserver_binary"]


def end(memserver, how: str) -> None:
    if how == "killed":
        memserver.kill()
    else:
        memserver.stop()


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_pages_epoch_holder_and_reservation_are_there_again(start, manager, session, how):
    second = session.other_main()
    memserver = start(manager=manager)
    with memserver.attached(session, 3000) as c:
        c.put(5, [page_of(n) for n in range(200)])
        c.put(1 << 40, [page_of(7)])
        c.drop(10, 3)
        c.reserve(2500)
        c.attach(second)
        assert c.claim(1).value == 2
        before = c.stat()
    end(memserver, how)
    memserver = start(manager=manager)
    assert "goes on in epoch 2: 198 of 2500 pages" in memserver.log.read_text()
    with memserver.connect() as old, memserver.connect() as new:
        assert old.attach(session, 1).status == wire.STALE
        assert new.attach(second, 2).value == 2
        assert new.claim(1).value == 2, "the claim whose answer was lost"
        after = new.stat()
        after["sessions"][0]["connections"] = before["sessions"][0]["connections"]
        assert after == before
        expected = [page_of(n) for n in range(200)]
        expected[5:8] = [None] * 3
        assert new.pages(5, 200) == expected
        assert new.pages(1 << 40) == [page_of(7)]
        assert new.open(second, 2500).value == 2, "the OPEN whose answer was lost"
        assert new.put(5000, [page_of(n) for n in range(256)]).status == wire.OK
        assert new.pages(5000, 256) == [page_of(n) for n in range(256)]


def test_another_binary_goes_on(start, manager, session, memserver_plain, tmp_path):
    memserver = start(memserver_plain, manager=manager)
    with memserver.attached(session) as c:
        c.put(0, [page_of(n) for n in range(256)])
    memserver.stop()
    upgraded = tmp_path / "upgraded-memserver"
    shutil.copy(memserver_plain, upgraded)
    memserver = start(upgraded, manager=manager)
    with memserver.connect() as c:
        assert c.attach(session).value == 1
        assert c.pages(0, 256) == [page_of(n) for n in range(256)]


def test_a_session_that_was_closed_does_not_come_back(start, manager, session):
    memserver = start(manager=manager)
    with memserver.attached(session) as c:
        c.put(0, [page_of(1)])
        c.close(session)
    memserver.kill()
    assert manager.names() == []
    memserver = start(manager=manager)
    with memserver.connect() as c:
        assert c.attach(session).status == wire.NO_SESSION
        assert c.stat()["reserved"] == 0
        assert c.open(session, 5).value == 1


def test_all_of_the_reservation_is_there_again_and_not_more(start, manager, session):
    """Slots in use, free ones, and those given back, as random as they come."""
    rng = random.Random(5)
    reserve = 2000
    memserver = start(manager=manager)
    with memserver.attached(session, reserve) as c:
        for round_ in range(4):
            for page in rng.sample(range(0, 4000, 50), 39):
                c.put(page, [page_of(round_)] * 50)
            for page in rng.sample(range(0, 4000, 50), 60):
                c.drop(page, 50)
            used = c.stat()["used"]
            reserve = used + rng.randrange(10, 600)
            assert c.reserve(reserve).value == reserve
            stored = [c.pages(page, 250) for page in range(0, 4000, 250)]
            memserver.kill()
            memserver = start(manager=manager)
            c = memserver.connect()
            c.attach(session)
            assert c.stat()["used"] == used
            assert [c.pages(page, 250) for page in range(0, 4000, 250)] == stored
            for n in range(reserve - used):
                assert c.put(10000 + n, [page_of(n % 7)]).status == wire.OK
            assert c.put(20000, [page_of(1)]).status == wire.RESERVATION
            for n in range(reserve - used):
                assert c.drop(10000 + n).value == 1
            reserve = 2000
            assert c.reserve(reserve).value == reserve


def test_more_workers_and_less_capacity_than_before(start, manager, session):
    memserver = start(manager=manager, workers=1)
    with memserver.attached(session, 2000) as c:
        c.put(0, [page_of(n) for n in range(256)])
    memserver.stop()
    memserver = start(manager=manager, workers=4, capacity=1000 * wire.PAGE)
    with memserver.connect() as c:
        c.attach(session)
        assert c.pages(0, 256) == [page_of(n) for n in range(256)]
        assert c.stat()["reserved"] == 2000
        assert c.open(Session(), 1).status == wire.NO_SPACE
        assert c.reserve(2001).status == wire.NO_SPACE
        assert c.reserve(300).status == wire.OK
        assert c.open(Session(), 1).status == wire.OK


def test_without_a_manager_nothing_is_kept(start, session):
    memserver = start()
    with memserver.attached(session) as c:
        c.put(0, [page_of(1)])
    memserver.stop()
    memserver = start()
    with memserver.connect() as c:
        assert c.attach(session).status == wire.NO_SESSION


def test_no_more_sessions_than_the_manager_keeps(start, manager, monkeypatch):
    monkeypatch.setenv("FDSTORE", "7")
    memserver = start(manager=manager)
    assert "keeps 2 sessions only" in memserver.log.read_text()
    with memserver.connect() as c:
        assert [c.open(Session(), 1).status for _ in range(3)] == [wire.OK, wire.OK, wire.NO_SPACE]


class Writer(threading.Thread):
    """Changes pages of its own until the memserver is gone, and knows what may be there then."""

    PAGES = 600
    IN_FLIGHT = 6

    def __init__(self, number: int, seed: int):
        super().__init__()
        self.base = number * 100000
        self.rng = random.Random(seed)
        # For each page what may be in it: one content, or more while requests are not answered.
        self.may_be: list[set[bytes | None]] = [{None} for _ in range(self.PAGES)]
        self.answered = 0
        self.failure: BaseException | None = None

    def use(self, connection) -> None:
        self.connection = connection
        threading.Thread.__init__(self)

    def one(self) -> tuple[bytes, int, int, bytes | None]:
        first = self.rng.randrange(self.PAGES)
        count = min(self.rng.choice((1, 3, 20, 64, 200, 256)), self.PAGES - first)
        address = (self.base + first) * wire.PAGE
        if self.rng.random() < 0.25:
            return wire.request(wire.DROP, count, 0, address), first, count, None
        page = page_of(self.rng.randrange(1, 200))
        return wire.request(wire.PUT, count, 0, address, wire.put_payload([page] * count)), first, count, page

    def run(self) -> None:
        try:
            waiting = []
            while True:
                while len(waiting) < self.IN_FLIGHT:
                    request, first, count, page = self.one()
                    for i in range(first, first + count):
                        self.may_be[i] = self.may_be[i] | {page}
                    waiting.append((first, count, page))
                    self.connection.send(request)
                response = self.connection.receive()
                assert response.status == wire.OK, response.text
                self.answered += 1
                first, count, page = waiting.pop(0)
                later = [{p for f, c, p in waiting if f <= i < f + c} for i in range(first, first + count)]
                for i in range(first, first + count):
                    self.may_be[i] = {page} | later[i - first]
        except (wire.Closed, OSError):
            pass
        except BaseException as failure:
            self.failure = failure

    def check(self, connection) -> None:
        """Whatever was acknowledged is there; what was not is there as a whole, or not at all."""
        for first in range(0, self.PAGES, 200):
            for i, page in enumerate(connection.pages(self.base + first, 200), first):
                assert page in self.may_be[i], f"page {i} holds what nobody left there"
                self.may_be[i] = {page}


@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again_amid_puts(start, manager, session, request, binary, seed):
    program = request.getfixturevalue(binary)
    rng = random.Random(seed)
    writers = [Writer(number, seed * 100 + number) for number in range(4)]
    reserve = len(writers) * Writer.PAGES
    memserver = start(program, manager=manager)
    memserver.attached(session, reserve)
    for _ in range(12):
        for writer in writers:
            connection = memserver.connect()
            assert connection.attach(session).status == wire.OK
            writer.check(connection)
            writer.use(connection)
        before = [writer.answered for writer in writers]
        for writer in writers:
            writer.start()
        aim = rng.randrange(4, 40)
        limit = time.monotonic() + 30
        while sum(writer.answered for writer in writers) - sum(before) < aim:
            assert time.monotonic() < limit
        memserver.kill()
        for writer in writers:
            writer.join()
            assert writer.failure is None, writer.failure
        memserver = start(program, manager=manager)
    with memserver.connect() as c:
        c.attach(session)
        for writer in writers:
            writer.check(c)
        stored = sum(page != {None} for writer in writers for page in writer.may_be)
        assert c.stat()["used"] == stored
        for n in range(reserve - stored):
            assert c.put((1 << 30) + n, [page_of(1)]).status == wire.OK, "no slot is lost"


def contend(memserver, main: Session, won: dict[int, Session]) -> None:
    """Claims the session again and again, against others, until the memserver is gone."""
    with contextlib.suppress(wire.Closed, OSError), memserver.connect_local() as root, memserver.connect() as c:
        while True:
            epoch = root.stat()["sessions"][0]["epoch"]
            if c.attach(main, epoch).status == wire.OK:
                answer = c.claim(epoch)
                if answer.status == wire.OK:
                    won[answer.value] = main


def test_killed_again_and_again_amid_claims(start, manager, session):
    """The epoch never goes back, and whoever was told that it won holds the session."""
    mains = [session, session.other_main(), session.other_main()]
    memserver = start(manager=manager)
    memserver.attached(session)
    rng = random.Random(3)
    settled = 0
    for _ in range(15):
        won: dict[int, Session] = {}
        threads = [threading.Thread(target=contend, args=(memserver, main, won)) for main in mains]
        for thread in threads:
            thread.start()
        while len(won) < 5:
            time.sleep(rng.random() / 100)
        memserver.kill()
        for thread in threads:
            thread.join()
        memserver = start(manager=manager)
        with memserver.connect_local() as root:
            epoch = root.stat()["sessions"][0]["epoch"]
        assert max(won) <= epoch <= max(won) + len(mains), "each may have won once without being told"
        if epoch != max(won):
            continue
        settled += 1
        for main in mains:
            with memserver.connect() as c:
                assert c.attach(main, epoch).value == epoch
                assert c.put(0, [page_of(1)]).status == (wire.OK if main is won[epoch] else wire.STALE)
    assert settled


def test_killed_again_and_again_amid_open_reserve_and_close(start, manager):
    """A session is there as a whole or not at all, and no memory is lost."""
    rng = random.Random(4)
    capacity = 4000
    memserver = start(manager=manager, capacity=capacity * wire.PAGE)
    known: dict[bytes, Session] = {}
    for _ in range(15):

        def change(memserver=memserver):
            with contextlib.suppress(wire.Closed, OSError), memserver.connect() as c:
                while True:
                    session = Session(name=b"short")
                    known[session.id] = session
                    c.open(session, rng.randrange(500))
                    c.attach(session)
                    c.put(0, [page_of(3)] * 256)
                    for _ in range(3):
                        c.reserve(rng.randrange(800))
                    if rng.random() < 0.8:
                        c.close(session)

        threads = [threading.Thread(target=change) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(rng.random() / 5)
        memserver.kill()
        for thread in threads:
            thread.join()
        memserver = start(manager=manager, capacity=capacity * wire.PAGE)
        with memserver.connect_local() as root, memserver.connect() as c:
            stat = root.stat()
            assert stat["reserved"] == sum(one["reserved"] for one in stat["sessions"])
            for one in stat["sessions"]:
                session = known[bytes.fromhex(one["id"])]
                assert c.attach(session).value == 1
                assert one["used"] <= one["reserved"]
                assert set(c.pages(0, 256)) <= {None, page_of(3)}
                assert c.close(session).status == wire.OK
            assert root.stat()["reserved"] == 0
        assert wait_until_nothing_is_kept(manager)


def wait_until_nothing_is_kept(manager) -> bool:
    limit = time.monotonic() + 10
    while manager.names():
        if time.monotonic() > limit:
            return False
    return True


def damage(descriptor: int, offset: int, data: bytes) -> None:
    os.pwrite(descriptor, data, offset)


def kept(manager) -> dict[str, int]:
    """The three descriptors of the session that is kept, by what they are."""
    (name,) = set(manager.names())
    by_size = {}
    for descriptor in manager.descriptors(name):
        link = os.readlink(f"/proc/self/fd/{descriptor}")
        by_size[link.removeprefix("/memfd:smemv-").split()[0]] = descriptor
    return by_size


DAMAGES = {
    "magic": ("session", 0, b"x", "does not begin"),
    "version": ("session", 8, b"\x63", "version"),
    "token": ("session", 40, b"x", "checksum"),
    "state": ("session", 160, b"\x09", "state"),
    "epoch": ("session", 176, bytes(8), "epoch"),
    "reservation": ("session", 168, b"\xff" * 8, "reservation"),
    "reservation below what is stored": ("session", 168, bytes(8), "more pages than"),
    "root outside": ("index", 64, b"\xff\xff\xff\x7f", "index"),
    "root to itself": ("index", 64, b"\x08\0\0\0", "index"),
    "slots without memory": ("pages", 1 << 30, bytes(1 << 15), "slot"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_refused_and_not_lost(start, manager, session, memserver_binary, tmp_path, name):
    what, offset, data, reason = DAMAGES[name]
    memserver = start(manager=manager)
    with memserver.attached(session) as c:
        c.put(0, [page_of(n) for n in range(100)])
    memserver.kill()
    descriptor = kept(manager)[what]
    right = os.pread(descriptor, len(data), offset)
    damage(descriptor, offset, data)
    result = start_and_fail(manager, memserver_binary)
    assert result.returncode == 1
    assert f"{manager.names()[0]} was kept, but it cannot be used" in result.stderr
    assert reason in result.stderr
    damage(descriptor, offset, right)
    memserver = start(manager=manager)
    with memserver.connect() as c:
        assert c.attach(session).value == 1
        assert c.pages(0, 100) == [page_of(n) for n in range(100)]


def start_and_fail(manager, binary) -> subprocess.CompletedProcess:
    command, environment, descriptors = manager.launch(
        [str(binary), "--listen", "127.0.0.1:0", "--capacity", "67108864", "--workers", "2"]
    )
    try:
        return subprocess.run(
            command,
            env={**os.environ, **environment},
            pass_fds=descriptors,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@pytest.mark.parametrize("what", ["session", "index", "pages"])
def test_a_part_that_is_missing_is_refused(start, manager, session, memserver_binary, what):
    memserver = start(manager=manager)
    memserver.attached(session)
    memserver.kill()
    descriptor = kept(manager)[what]
    (name,) = set(manager.names())
    manager._kept.remove((name, descriptor))
    result = start_and_fail(manager, memserver_binary)
    assert result.returncode == 1
    assert "missing" in result.stderr
    manager._kept.append((name, descriptor))
    memserver = start(manager=manager)
    with memserver.connect() as c:
        assert c.attach(session).value == 1


def test_parts_of_two_sessions_are_not_mixed(start, manager, memserver_binary):
    memserver = start(manager=manager)
    one, two = Session(), Session()
    memserver.attached(one)
    memserver.attached(two)
    memserver.kill()
    names = manager.names()
    manager._kept = [(names[(i + 1) % len(names)], fd) for i, (_, fd) in enumerate(manager._kept)]
    result = start_and_fail(manager, memserver_binary)
    assert result.returncode == 1
    assert "another's" in result.stderr or "missing" in result.stderr
