# SPDX-License-Identifier: GPL-3.0-or-later
"""Two main hosts and one session: only the holder changes anything."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading

import wire_client as wire
from wire_client import Session, page_of


def test_a_second_main_reads_but_does_not_write(memserver, session):
    second = session.other_main()
    with memserver.attached(session) as old, memserver.connect() as new:
        old.put(0, [page_of(1)])
        assert new.attach(second).value == 1
        assert new.pages(0) == [page_of(1)]
        assert new.put(0, [page_of(2)]).status == wire.STALE
        assert new.drop(0).status == wire.STALE
        assert new.reserve(1).status == wire.STALE
        assert new.close(second).status == wire.STALE
        assert old.pages(0) == [page_of(1)]


def test_claim_makes_the_second_main_the_holder_everywhere(memserver, session):
    second = session.other_main()
    with memserver.attached(session) as old, memserver.connect() as new, memserver.connect() as more:
        old.put(0, [page_of(1)])
        new.attach(second)
        more.attach(second)
        assert new.claim(1).value == 2
        assert new.put(0, [page_of(2)]).status == wire.OK
        assert more.put(1, [page_of(3)]).status == wire.OK, "all connections of the holder at once"
        assert more.pages(0, 2) == [page_of(2), page_of(3)]
        for refused in (old.put(0, [page_of(9)]), old.get(0), old.drop(0), old.reserve(1), old.close(session)):
            assert refused.status == wire.STALE
        assert new.pages(0) == [page_of(2)]


def test_of_two_claims_one_wins(memserver, session):
    second = session.other_main()
    with memserver.attached(session) as old, memserver.connect() as new:
        new.attach(second)
        results = {}

        def claim(name, connection):
            results[name] = connection.claim(1).status

        threads = [threading.Thread(target=claim, args=who) for who in (("old", old), ("new", new))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results.values()) == [wire.OK, wire.STALE]
        winner, loser = (old, new) if results["old"] == wire.OK else (new, old)
        assert winner.put(0, [page_of(1)]).status == wire.OK
        assert loser.put(0, [page_of(2)]).status == wire.STALE


def test_the_source_may_claim_for_itself(memserver, session):
    second = session.other_main()
    with memserver.attached(session) as old, memserver.connect() as new:
        new.attach(second)
        assert old.claim(1).value == 2
        assert old.put(0, [page_of(1)]).status == wire.OK
        assert new.claim(1).status == wire.STALE
        assert new.get(0).status == wire.STALE
        assert new.attach(second, epoch=1).status == wire.STALE
        assert new.attach(second, epoch=2).status == wire.OK
        assert new.pages(0) == [page_of(1)]


def test_a_claim_whose_answer_was_lost_is_made_again(memserver, session):
    second = session.other_main()
    with memserver.attached(session) as old, memserver.connect() as new:
        new.attach(second)
        assert new.claim(1).value == 2
        assert new.claim(1).value == 2
        assert old.claim(1).status == wire.STALE
        assert new.claim(2).value == 3, "the next claim is another one"
        assert new.claim(1).status == wire.STALE
        assert new.claim(4).status == wire.STALE


def test_the_holder_attaches_whatever_epoch_it_knows(memserver, session):
    second = session.other_main()
    with memserver.attached(session) as old, memserver.connect() as new, memserver.connect() as more:
        new.attach(second)
        new.claim(1)
        assert more.attach(second, epoch=1).value == 2
        assert more.put(0, [page_of(1)]).status == wire.OK
        assert old.attach(session, epoch=1).status == wire.STALE


def test_a_loser_keeps_no_way_back(memserver, session):
    """An older holder that attaches anew with the older epoch is refused; its old attachment stays stale."""
    with memserver.attached(session) as old, memserver.connect() as new:
        new.attach(session.other_main())
        new.claim(1)
        assert old.attach(session, epoch=1).status == wire.STALE
        assert old.put(0, [page_of(1)]).status == wire.STALE


def test_open_by_the_older_holder_is_anothers(memserver, session):
    second = session.other_main()
    with memserver.attached(session, reserve=16) as old, memserver.connect() as new:
        new.attach(second)
        new.claim(1)
        assert old.open(session, 16).status == wire.EXISTS
        assert new.open(second, 16).value == 2


def test_a_put_that_was_half_sent_before_the_claim_changes_nothing(memserver, session):
    put = wire.request(wire.PUT, 2, 77, 0, wire.put_payload([page_of(8), page_of(9)]))
    with memserver.attached(session) as old, memserver.connect() as new:
        old.put(0, [page_of(1), page_of(1)])
        new.attach(session.other_main())
        old.send(put[:-1])
        assert new.claim(1).status == wire.OK
        old.send(put[-1:])
        assert old.receive().status == wire.STALE
        assert new.pages(0, 2) == [page_of(1), page_of(1)]


def test_after_the_claim_nothing_of_the_older_holder_arrives(start):
    """Old mains write as fast as they can on several connections; from CLAIM on the pages stand still.

    The GET is sent together with the CLAIM, so that it is done while the old mains' PUTs are still at work.
    """
    memserver = start(workers=4)
    puts = [
        wire.request(wire.PUT, 256, 0, 0, wire.put_payload([page_of(number << 32 | version)] * 256)) * 4
        for number in range(3)
        for version in range(2)
    ]
    claim_and_get = wire.request(wire.CLAIM, 0, 1, 1) + wire.request(wire.GET, 256, 2)

    def write(connection, number):
        for turn in range(10000):
            connection.send(puts[2 * number + turn % 2])
            statuses = [connection.receive().status for _ in range(4)]
            assert statuses == sorted(statuses)
            if statuses[-1] == wire.STALE:
                return
            assert statuses == [wire.OK] * 4

    for _round in range(8):
        session = Session()
        with contextlib.ExitStack() as stack:
            olds = [stack.enter_context(memserver.attached(session, 256))]
            olds += [stack.enter_context(memserver.connect()) for _ in range(2)]
            new = stack.enter_context(memserver.connect())
            assert all(old.attach(session).status == wire.OK for old in olds[1:])
            assert new.attach(session.other_main()).status == wire.OK
            pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor())
            writers = [pool.submit(write, old, number) for number, old in enumerate(olds)]
            while new.pages(0) == [None]:
                pass
            new.send(claim_and_get)
            assert new.receive().status == wire.OK
            frozen = wire.split_pages(new.receive(), 256)
            for writer in writers:
                writer.result()
            assert len(set(frozen)) == 1, "a PUT is there as a whole, or not at all"
            assert new.pages(0, 256) == frozen
