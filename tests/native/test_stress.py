# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything at once, on all workers, under ThreadSanitizer and AddressSanitizer.

Each client thread has pages of its own and a model of them; all share two
sessions, and meanwhile others open, resize, look at and close sessions.
"""

from __future__ import annotations

import os
import random
import threading
import time

import pytest
import wire_client as wire
from wire_client import Session, page_of

SECONDS = 8
REGION = 300
CLIENTS = 6


def client(memserver, session, number: int, end: float) -> None:
    """Random PUT, GET and DROP in a region of its own, held against a model."""
    rng = random.Random(number)
    base = number * REGION
    model: list[bytes | None] = [None] * REGION
    with memserver.connect() as c:
        assert c.attach(session).status == wire.OK
        while time.monotonic() < end:
            first = rng.randrange(REGION)
            count = min(rng.choice((1, 1, 8, 64, 256)), REGION - first)
            operation = rng.choice(("put", "put", "get", "drop"))
            if operation == "put":
                pages = [page_of(rng.randrange(500))] * count
                assert c.put(base + first, pages).status == wire.OK
                model[first : first + count] = pages
            elif operation == "get":
                assert c.pages(base + first, count) == model[first : first + count]
            else:
                dropped = sum(page is not None for page in model[first : first + count])
                assert c.drop(base + first, count).value == dropped
                model[first : first + count] = [None] * count
        for first in range(0, REGION, 100):
            assert c.pages(base + first, 100) == model[first : first + 100]


def resizer(memserver, session, end: float) -> None:
    with memserver.connect() as c:
        assert c.attach(session).status == wire.OK
        while time.monotonic() < end:
            assert c.reserve(random.randrange(REGION * CLIENTS, 2 * REGION * CLIENTS)).status == wire.OK


def opener(memserver, end: float) -> None:
    """Sessions of a moment, closed under the hands of those who write into them."""
    while time.monotonic() < end:
        session = Session(name=b"short")
        with memserver.attached(session, 64) as c, memserver.connect() as other, memserver.connect_local() as root:
            other.attach(session)
            other.send(wire.request(wire.PUT, 64, 1, 0, wire.put_payload([page_of(1)] * 64)) * 5)
            root.stat()
            assert c.close(session).status == wire.OK
            statuses = [other.receive().status for _ in range(5)]
            assert set(statuses) <= {wire.OK, wire.NO_SESSION}
            assert statuses == sorted(statuses), "once closed it stays closed"


@pytest.mark.parametrize("binary", ["memserver_binary", "memserver_tsan"])
def test_everything_at_once(start, request, binary):
    memserver = start(request.getfixturevalue(binary), workers=3)
    sessions = [Session(name=b"one"), Session(name=b"two")]
    end = time.monotonic() + SECONDS
    failures = []

    def guarded(function, *arguments):
        try:
            function(*arguments)
        except BaseException as failure:  # whatever it is, the test has failed
            failures.append(failure)

    with memserver.connect() as c:
        for session in sessions:
            assert c.open(session, 2 * REGION * CLIENTS).status == wire.OK
        threads = [
            threading.Thread(target=guarded, args=(client, memserver, sessions[i % 2], i, end)) for i in range(CLIENTS)
        ]
        threads += [threading.Thread(target=guarded, args=(resizer, memserver, sessions[i], end)) for i in range(2)]
        threads += [threading.Thread(target=guarded, args=(opener, memserver, end)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        assert os.path.exists(f"/proc/{memserver.process.pid}")
        stat = c.stat()
        assert stat["reserved"] == sum(s["reserved"] for s in memserver.connect_local().stat()["sessions"])
