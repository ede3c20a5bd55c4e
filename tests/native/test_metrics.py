# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics: what they count, their format, and who asks for them wrongly."""

from __future__ import annotations

import json
import pathlib
import re
import socket
import ssl
import subprocess
import time

import pytest
import wire_client as wire
from certificates import context
from promtool import promtool
from wire_client import Session, page_of

HERE = pathlib.Path(__file__).resolve().parent
FILES = HERE.parents[1] / "roles/memserver/files"
LOOPBACK = ("--metrics", "127.0.0.1:0")
GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


def place(memserver):
    """Where the metrics are: the address that was last said to be listened on."""
    host, port = re.findall(r"listening on (\S+) port (\d+)", memserver.log.read_text())[-1]
    return host, int(port)


def ask(address, *pieces: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as peer:
        peer.settimeout(20)
        peer.connect(address)
        for piece in pieces:
            peer.sendall(piece)
        answer = b""
        while part := peer.recv(65536):
            answer += part
        return answer


def text(address) -> str:
    head, _, body = ask(address, GET).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=0.0.4" in head
    assert f"Content-Length: {len(body)}".encode() in head
    return body.decode()


def read(address) -> dict[str, float]:
    """By name, with the labels as they stand, each metric's value."""
    values = {}
    for line in text(address).splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            assert name not in values
            values[name.removeprefix("smemv_memserver_")] = float(value)
    return values


@pytest.fixture
def memserver(start):
    return start(options=LOOPBACK)


def test_what_was_done_is_counted(memserver, session):
    before = read(place(memserver))
    assert before["capacity_bytes"] == 64 << 20
    with memserver.attached(session, 512) as c:
        c.put(0, [page_of(i) for i in range(256)])
        for page in range(100):
            c.get(page)
        assert c.put(0, [page_of(1)], [7]).status == wire.CHECKSUM
        c.sync()
        during = read(place(memserver))
        identity = f'{{id="{session.id.hex()}",name="vm"}}'
        assert during["sessions"] == 1
        assert during["connections"] == 1
        assert during["reserved_bytes"] == during[f"session_reserved_bytes{identity}"] == 512 * 4096
        assert during[f"session_used_bytes{identity}"] == 256 * 4096
        c.close(session)
        c.send(wire.request(200, tag=1))
        assert c.receive().status == wire.BAD_REQUEST
        with memserver.connect() as other:
            other.send(wire.request(15, tag=1))
            assert other.receive().status == wire.BAD_REQUEST
    after = read(place(memserver))
    assert after["sessions"] == after["reserved_bytes"] == 0
    assert {name for name in before if name not in after} == set()
    answered = {name: after[name] for name in after if name.startswith("requests_total") and after[name]}
    assert answered == {
        f'requests_total{{opcode="{opcode}",status="{status}"}}': count
        for opcode, status, count in (
            ("HELLO", "OK", 2), ("OPEN", "OK", 1), ("ATTACH", "OK", 1), ("PUT", "OK", 1), ("PUT", "CHECKSUM", 1),
            ("GET", "OK", 100), ("SYNC", "OK", 1), ("CLOSE", "OK", 1), ("invalid", "BAD_REQUEST", 2),
        )
    }  # fmt: skip
    assert after['request_duration_seconds_count{opcode="GET"}'] == 100
    assert after['request_duration_seconds_count{opcode="OPEN"}'] == 1
    assert 257 * 4096 < after["received_bytes_total"] < 260 * 4096
    assert 100 * 4096 < after["sent_bytes_total"] < 102 * 4096
    assert after["connections_accepted_total"] == 2


def test_the_histogram_adds_up(memserver, session):
    with memserver.attached(session) as c:
        start = time.monotonic()
        for _ in range(1000):
            c.get(0, 256)
        most = time.monotonic() - start
    values = read(place(memserver))
    buckets = [
        (float(limit), values[f'request_duration_seconds_bucket{{opcode="GET",le="{limit}"}}'])
        for limit in re.findall(r'_bucket\{opcode="GET",le="(.*?)"\}', "\n".join(values))
    ]
    limits, counts = zip(*buckets)
    assert list(limits) == sorted(limits)
    assert list(counts) == sorted(counts)
    assert counts[-1] == values['request_duration_seconds_count{opcode="GET"}'] == 1000
    total = values['request_duration_seconds_sum{opcode="GET"}']
    assert 0 < total < most
    # Each lies in its bucket, so that their limits hold the total in.
    steps = [(low, high, n) for low, high, n in zip((0, *limits), limits, _differences(counts)) if n]
    assert sum(low / 1.0001 * n for low, _high, n in steps) <= total <= sum(high * n for _low, high, n in steps)


def _differences(counts):
    return [later - earlier for earlier, later in zip((0, *counts), counts)]


def test_refused_connections_are_counted(start, session):
    memserver = start(options=(*LOOPBACK, "--max-connections", "1"))
    with memserver.connect() as c:
        for _ in range(3):
            with wire.Connection(memserver.address) as one_too_many:
                assert one_too_many.is_closed()
        assert read(place(memserver))["connections_refused_total"] == 3
        assert c.sync().status == wire.OK


def test_tls_is_counted(start_with_tls, authority, folder, tmp_path):
    memserver = start_with_tls(options=LOOPBACK)
    memserver.connect()
    stranger = context(authority.issue(tmp_path / "stranger", "stranger"))
    for _ in range(2):
        with pytest.raises(ssl.SSLError):
            memserver.connect(tls=stranger)
    # The memserver is at that when the client knows already.
    deadline = time.monotonic() + 20
    while (values := read(place(memserver)))["tls_failures_total"] < 2:
        assert time.monotonic() < deadline, values
    assert values["tls_handshakes_total"] == 1
    assert values["tls_failures_total"] == 2
    end = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in", folder / "server-cert.pem"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    expiry = time.gmtime(values["tls_certificate_expiry_timestamp_seconds"])
    assert end == time.strftime("notAfter=%Y-%m-%d %H:%M:%SZ", expiry)


def test_prometheus_can_read_them(memserver, session):
    with memserver.attached(session) as c:
        c.put(0, [page_of(1)])
        c.open(Session(name=b"other.vm_2"), 1)
        promtool("check", "metrics", stdin=text(place(memserver)))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metricsx HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 5000, 400),
        (b"GET /metrics?format=x HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_requests(memserver, request_, status):
    try:
        answer = ask(place(memserver), request_)
    except ConnectionResetError:
        # What was not read of a request that is too long cuts the answer off.
        assert len(request_) > 4096
        return
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_a_request_in_pieces(memserver):
    assert ask(place(memserver), *(GET[i : i + 7] for i in range(0, len(GET), 7))).startswith(b"HTTP/1.1 200 ")


def test_one_who_says_nothing_is_sent_away_and_the_next_has_its_turn(memserver, session):
    with memserver.attached(session) as c, socket.create_connection(place(memserver)) as silent:
        silent.sendall(GET[:10])
        assert read(place(memserver))["sessions"] == 1
        assert silent.recv(100) == b""
        assert c.sync().status == wire.OK


def test_a_local_socket(start, tmp_path):
    path = str(tmp_path / "metrics.sock")
    memserver = start(options=("--metrics", path))
    assert read(path)["sessions"] == 0
    memserver.process.terminate()
    memserver.process.wait(20)
    assert not (tmp_path / "metrics.sock").exists()


def test_off_loopback_they_are_refused(memserver_binary):
    refused = subprocess.run(
        [memserver_binary, "--capacity", "8192", "--listen", "127.0.0.1:0", "--metrics", "0.0.0.0:0", "--plain"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "is not loopback" in refused.stderr


def test_counting_is_no_race(start, memserver_tsan, session):
    memserver = start(memserver_tsan, options=LOOPBACK)
    with memserver.attached(session) as c:
        for _ in range(50):
            c.put(0, [page_of(1)])
            read(place(memserver))


def test_the_alerts_fire_when_they_should(tmp_path):
    promtool("check", "rules", FILES / "prometheus-alerts.yml")
    tests = tmp_path / "alerts_test.yml"
    tests.write_text((HERE / "alerts_test.yml").read_text().replace("RULES", str(FILES / "prometheus-alerts.yml")))
    promtool("test", "rules", tests)


def test_alerts_and_dashboard_name_metrics_that_are_there(start_with_tls, session):
    """By their names and labels as they are served."""
    memserver = start_with_tls(options=LOOPBACK)
    with memserver.attached(session):
        served = {re.split("[{ ]", line)[0] for line in text(place(memserver)).splitlines() if line[0] != "#"}
    dashboard = json.loads((FILES / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked.append((FILES / "prometheus-alerts.yml").read_text())
    names = {name for expression in asked for name in re.findall(r"smemv_memserver_\w+", expression)}
    assert len(names) > 10
    assert names <= served
