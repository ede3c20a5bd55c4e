# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind of memory that pages are kept in: locked, in huge pages, and refused where the host has none."""

from __future__ import annotations

import pathlib
import re
import resource
import subprocess

import pytest
import wire_client as wire
from wire_client import page_of

from native.bench import huge_pages

HUGE_PAGES = 64
PAGES_IN_HUGE = 512


def locked_pages(memserver) -> int:
    status = pathlib.Path(f"/proc/{memserver.process.pid}/status").read_text()
    return int(re.search(r"VmLck:\s+(\d+) kB", status)[1]) * 1024 // wire.PAGE


def live(memserver, session) -> None:
    """A session's life: what it holds is right all the while."""
    with memserver.attached(session, 2000) as c:
        for first in range(0, 1792, 256):
            assert c.put(first, [page_of(first + n) for n in range(256)]).status == wire.OK
        for first in range(0, 1792, 512):
            assert c.drop(first, 256).value == 256
        assert c.reserve(800).value == 800
        assert c.put(5000, [page_of(1)]).status == wire.OK
        assert c.reserve(3000).value == 3000
        for first in range(2000, 4000, 250):
            assert c.put(first, [page_of(first + n) for n in range(250)]).status == wire.OK
        check(c)


def check(c) -> None:
    for first in range(0, 1792, 256):
        stored = first // 256 % 2
        assert c.pages(first, 256) == [page_of(first + n) if stored else None for n in range(256)]
    for first in range(2000, 4000, 250):
        assert c.pages(first, 250) == [page_of(first + n) for n in range(250)]


def test_locked_pages(start, manager, session, memserver_plain):
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    if subprocess.run(["setpriv", "--dump"], capture_output=True, text=True, check=True).stdout.find("ipc_lock") < 0:
        pytest.skip(f"needs CAP_IPC_LOCK, or a limit above {hard} bytes")
    memserver = start(memserver_plain, manager=manager, options=("--lock",))
    assert locked_pages(memserver) == 0
    live(memserver, session)
    assert locked_pages(memserver) >= 3000
    memserver.kill()
    memserver = start(memserver_plain, manager=manager, options=("--lock",))
    assert locked_pages(memserver) >= 3000
    with memserver.connect() as c:
        c.attach(session)
        check(c)
        c.close(session)
    assert locked_pages(memserver) == 0


def test_pages_that_may_not_be_locked(memserver_plain):
    result = subprocess.run(
        ["prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock",
         memserver_plain, "--lock", "--listen", "127.0.0.1:0", "--capacity", str(64 << 20)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "--lock: 16384 pages cannot be locked" in result.stderr


@pytest.fixture
def some_huge_pages():
    """A few, for the time of a test."""
    with huge_pages.set_aside(HUGE_PAGES * huge_pages.SIZE):
        yield


def free_huge_pages() -> int:
    return int(huge_pages.SETTING.with_name("free_hugepages").read_text())


@pytest.mark.usefixtures("some_huge_pages")
def test_huge_pages(start, manager, session, memserver_plain):
    options = {"manager": manager, "options": ("--huge-pages",), "capacity": 32 << 20}
    memserver = start(memserver_plain, **options)
    with memserver.connect() as c:
        assert c.stat()["huge_pages"] is True
    before = free_huge_pages()
    live(memserver, session)
    assert before - free_huge_pages() >= 3000 // PAGES_IN_HUGE
    memserver.kill()
    memserver = start(memserver_plain, **options)
    with memserver.connect() as c:
        c.attach(session)
        check(c)
        assert c.close(session).status == wire.OK
        assert free_huge_pages() == before
        response = c.open(session, 8192)
        assert response.status == wire.OK


@pytest.mark.usefixtures("some_huge_pages")
def test_huge_pages_run_out(start, session, memserver_plain):
    """The host has as many as the capacity, but others have taken them."""
    other = start(memserver_plain, name="other", options=("--huge-pages",), capacity=100 << 20)
    memserver = start(memserver_plain, options=("--huge-pages",), capacity=100 << 20)
    with other.attached(session, 90 * 256), memserver.connect() as c:
        response = c.open(session, 90 * 256)
        assert response.status == wire.NO_SPACE
        assert "no memory" in response.text
        assert c.open(session, 256).status == wire.OK


@pytest.mark.usefixtures("some_huge_pages")
def test_too_few_huge_pages(memserver_plain):
    there = huge_pages.count()
    result = subprocess.run(
        [memserver_plain, "--huge-pages", "--listen", "127.0.0.1:0", "--capacity", str((there + 1) << 21)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert f"the capacity is {there + 1} huge pages of 2 MiB, and the host has {there}" in result.stderr
