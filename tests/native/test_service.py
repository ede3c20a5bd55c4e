# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon as a service: options, sockets, readiness, memory, and its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess

import pytest
import wire_client as wire
from full_host import limit_memory
from wire_client import Session, page_of

PAGES_IN_MIB = 256
SPARE = 2 * 256  # what a session has beyond its reservation, with two workers


def run(binary, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=20, check=False, **options)


def test_version_and_help(memserver_binary):
    assert run(memserver_binary, "--version").stdout.startswith("smemv-memserver ")
    assert "--capacity BYTES" in run(memserver_binary, "--help").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--listen", "127.0.0.1:0"],
        ["--capacity", "4095", "--listen", "127.0.0.1:0"],
        ["--capacity", "-1", "--listen", "127.0.0.1:0"],
        ["--capacity", "1G", "--listen", "127.0.0.1:0"],
        ["--capacity", "99999999999999999999", "--listen", "127.0.0.1:0"],
        ["--capacity", "8192", "--workers", "0", "--listen", "127.0.0.1:0"],
        ["--capacity", "8192", "--listen", "127.0.0.1:0", "more"],
        ["--capacity", "8192", "--no-such-option"],
    ],
)
def test_wrong_options(memserver_binary, arguments):
    result = run(memserver_binary, *arguments)
    assert result.returncode == 2
    assert result.stderr


@pytest.mark.parametrize(
    "where", ["127.0.0.1", "localhost:1", "127.0.0.1:", ":4770", "::1:4770", "[::1]", "1.2.3.4:x", "192.0.2.1:4770"]
)
def test_addresses_that_cannot_be(memserver_binary, where):
    result = run(memserver_binary, "--capacity", "8192", "--listen", where)
    assert result.returncode == 1
    assert where in result.stderr


def test_nothing_to_listen_on(memserver_binary):
    result = run(memserver_binary, "--capacity", "8192")
    assert result.returncode == 1
    assert "nothing to listen on" in result.stderr


def test_several_addresses_and_ipv6(start):
    memserver = start(options=("--listen", "[::1]:0", "--listen", "127.0.0.2:0"))
    places = re.findall(r"listening on (\S+) port (\d+)", memserver.log.read_text())
    assert [host for host, port in places] == ["127.0.0.1", "::1", "127.0.0.2"]
    for host, port in places:
        with wire.Connection((host, int(port))) as c:
            assert c.hello().status == wire.OK


def test_a_port_that_is_taken(memserver, memserver_binary):
    result = run(memserver_binary, "--capacity", "8192", "--listen", f"127.0.0.1:{memserver.address[1]}")
    assert result.returncode == 1
    assert "in use" in result.stderr


def test_a_control_socket_that_is_taken_and_one_that_is_stale(memserver, memserver_binary, start, tmp_path):
    result = run(memserver_binary, "--capacity", "8192", "--control", memserver.control)
    assert result.returncode == 1
    assert "in use" in result.stderr
    with memserver.connect_local() as c:
        assert c.sync().status == wire.OK
    stale = socket.socket(socket.AF_UNIX)
    directory = tmp_path / "other"
    directory.mkdir()
    stale.bind(str(directory / "control.sock"))
    stale.close()
    process = subprocess.Popen(
        [memserver_binary, "--capacity", "8192", "--control", directory / "control.sock"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "listening on" in process.stderr.readline()
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_systemd_is_told(memserver_binary, tmp_path, session):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(20)
    control = tmp_path / "control.sock"
    process = subprocess.Popen(
        [memserver_binary, "--capacity", "1048576", "--control", control],
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        stderr=subprocess.DEVNULL,
    )
    assert notify.recv(1000).decode().startswith("READY=1\n")
    with wire.Connection(str(control)) as c:
        c.hello()
        c.send(wire.request(wire.OPEN, payload=wire.open_payload(session, 7)))
        # Their descriptors are not taken here, and so closed at once, which ends the barrier.
        assert notify.recv(1000).decode() == f"FDSTORE=1\nFDNAME=session-{session.id.hex()}"
        assert notify.recv(1000).decode() == "BARRIER=1"
        assert notify.recv(1000).decode() == "STATUS=1 sessions have reserved 7 of 256 pages"
    process.terminate()
    assert notify.recv(1000).decode() == "STOPPING=1"
    assert process.wait(20) == 0


def test_sockets_handed_over_by_systemd(memserver_binary):
    listener = socket.create_server(("127.0.0.1", 0))

    # The shell has the process id that LISTEN_PID names, and keeps it.
    process = subprocess.Popen(
        ["sh", "-c", f'LISTEN_FDS=1 LISTEN_PID=$$ exec "{memserver_binary}" --capacity 8192 3<&0'],
        stdin=listener,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "listening on" in process.stderr.readline()
    with wire.Connection(listener.getsockname()) as c:
        assert c.hello().status == wire.OK
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 0


def assert_committed(memserver, pages: int) -> None:
    """To the page, but for checksums and the bits of what there is, which are a few pages here and stay."""
    slots = pages + SPARE
    assert slots <= memserver.committed() <= slots + 16


def test_memory_is_there_when_it_is_promised_and_given_back(memserver, session):
    with memserver.attached(session, 3000) as c:
        assert_committed(memserver, 3000)
        c.put(0, [page_of(i) for i in range(256)])
        assert_committed(memserver, 3000)
        c.reserve(5000)
        assert_committed(memserver, 5000)
        c.reserve(300)
        assert_committed(memserver, 300)
        assert c.pages(0, 256) == [page_of(i) for i in range(256)]
        c.reserve(1024)
        for first in range(256, 1024, 256):
            c.put(first, [page_of(i) for i in range(256)])
        assert_committed(memserver, 1024)
        for first in range(0, 1024, 256):
            c.drop(first, 256)
        c.reserve(0)
        assert_committed(memserver, 0)
        c.reserve(600)
        assert_committed(memserver, 600)
        c.close(session)
        assert memserver.committed() == 0


def test_close_gives_memory_back_while_a_put_is_half_sent(memserver, session):
    put = wire.request(wire.PUT, 256, 5, 0, wire.put_payload([page_of(2)] * 256))
    with memserver.attached(session, 3000) as c, memserver.connect() as slow:
        slow.attach(session)
        slow.send(put[:400000])
        assert c.close(session).status == wire.OK
        assert memserver.committed() == 0
        assert c.open(session, 10).status == wire.OK
        slow.send(put[400000:])
        assert slow.receive().status == wire.NO_SESSION
        assert slow.attach(session).status == wire.OK
        assert slow.pages(0) == [None]


def test_memory_that_the_host_does_not_have_is_refused(memserver, session):
    with memserver.connect() as c:
        limit_memory(memserver.process.pid, 20 << 20)
        response = c.open(session, 40 * PAGES_IN_MIB)
        assert response.status == wire.NO_SPACE
        assert "no memory" in response.text
        assert c.stat()["reserved"] == 0
        assert memserver.committed() == 0
        limit_memory(memserver.process.pid, None)
        assert c.open(session, PAGES_IN_MIB).status == wire.OK
        c.attach(session)
        limit_memory(memserver.process.pid, 20 << 20)
        assert c.reserve(40 * PAGES_IN_MIB).status == wire.NO_SPACE
        assert c.stat()["reserved"] == PAGES_IN_MIB
        assert_committed(memserver, PAGES_IN_MIB)
        assert c.put(0, [page_of(1)]).status == wire.OK


def test_sessions_are_limited(start):
    memserver = start(options=("--max-sessions", "3"))
    with memserver.connect() as c:
        for _ in range(3):
            assert c.open(Session(), 1).status == wire.OK
        assert c.open(Session(), 1).status == wire.NO_SPACE


def test_it_ends_with_connections_and_sessions_open(memserver, session):
    """The fixture holds it to a clean end."""
    c = memserver.attached(session)
    c.put(0, [page_of(1)] * 256)
    c.send(wire.request(wire.PUT, 256)[:9])
    memserver.connect()


def test_sigint_ends_it_too(start):
    memserver = start()
    memserver.process.send_signal(signal.SIGINT)
    assert memserver.process.wait(20) == 0
