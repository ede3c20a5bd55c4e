# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon as it is installed, without the sanitizers' system calls: it serves in full with the few it keeps."""

from __future__ import annotations

import pathlib
import re
import signal
import socket
import time

import pytest
import wire_client as wire
from test_metrics import LOOPBACK, place, read
from wire_client import Session, page_of


@pytest.fixture
def memserver(start_with_tls, memserver_plain):
    return start_with_tls(binary=memserver_plain, options=LOOPBACK)


def threads(memserver) -> list[dict[str, str]]:
    """What the kernel says of each of its threads."""
    return [
        dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
        for task in pathlib.Path(f"/proc/{memserver.process.pid}/task").iterdir()
    ]


def test_every_thread_is_restricted(memserver):
    states = threads(memserver)
    assert len(states) == 1 + 2 + 4 + 16 + 4 + 1  # the first, workers, jobs, copies, handshakes, metrics
    assert {state["Seccomp"] for state in states} == {"2"}
    assert {state["NoNewPrivs"] for state in states} == {"1"}


def test_everything_works(memserver, session):
    pages = [page_of(i) for i in range(256)]
    with memserver.attached(session, 3000) as c, memserver.connect_local() as local:
        assert c.put(0, pages).status == wire.OK
        assert c.reserve(9000).value == 9000
        assert c.put(5000, pages).status == wire.OK
        assert c.pages(0, 256) == c.pages(5000, 256) == pages
        assert c.drop(0, 100).value == 100
        assert c.reserve(200).status == wire.RESERVATION
        assert c.reserve(500).value == 500
        assert c.claim(1).value == 2
        assert local.stat()["used"] == 412
        memserver.process.send_signal(signal.SIGHUP)
        while "were read again" not in memserver.log.read_text():
            time.sleep(0.01)
        assert memserver.connect().sync().status == wire.OK
        assert read(place(memserver))["session_used_bytes" + f'{{id="{session.id.hex()}",name="vm"}}'] == 412 * 4096
        for _ in range(20):
            assert c.open(Session(), 300).status == wire.OK
        assert c.close(session).status == wire.OK
    memserver.connect().send(wire.request(200))
    assert not re.search("cannot|not permitted", memserver.log.read_text())


def test_systemd_is_told_of_a_reload(memserver_plain, start_with_tls, tmp_path, monkeypatch, folder):
    """As Type=notify-reload wants it: RELOADING with the time, then READY, whatever came of it."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(20)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    memserver = start_with_tls(binary=memserver_plain)
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert notify.recv(1000).startswith(b"READY=1\n")
    for status in (b"Certificates were read again", b"The new certificates are not good: the old ones stay in force"):
        before = time.monotonic_ns() // 1000
        memserver.process.send_signal(signal.SIGHUP)
        reloading = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=(\d+)", notify.recv(1000))
        assert before <= int(reloading[1]) <= time.monotonic_ns() // 1000
        assert notify.recv(1000) == b"READY=1\nSTATUS=" + status
        (folder / "server-key.pem").unlink(missing_ok=True)
