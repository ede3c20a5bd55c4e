# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutual TLS: who is let in, what becomes of the others, and that nothing is lost when certificates are renewed."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
import wire_client as wire
from certificates import KNOWN, ME, Authority, context
from memserver_process import SANITIZER_OPTIONS
from wire_client import Connection, page_of


@pytest.fixture
def memserver(start_with_tls):
    return start_with_tls()


def reason(memserver) -> str:
    """What the journal says of the last peer that was refused; it comes when the memserver is at that."""
    deadline = time.monotonic() + 20
    while not (lines := re.findall(r"TLS failed: (.*)", memserver.log.read_text())):
        assert time.monotonic() < deadline, memserver.log.read_text()
        time.sleep(0.01)
    return lines[-1]


def alert_to(memserver, tls) -> str:
    """The alert that a client gets, at the latest when it reads the answer to its HELLO."""
    with pytest.raises(ssl.SSLError) as error:
        memserver.connect(tls=tls)
    return error.value.reason


def test_everything_works_over_it(memserver, session):
    pages = [page_of(i) for i in range(256)]
    with memserver.attached(session, 1024) as c, memserver.connect() as other:
        assert c.socket.version() == "TLSv1.3"
        assert c.socket.cipher()[0] == "TLS_AES_256_GCM_SHA384"
        for first in range(0, 1024, 256):
            assert c.put(first, pages).status == wire.OK
        other.attach(session)
        assert other.pages(512, 256) == pages
        requests = [wire.request(wire.GET, 256, tag, (tag % 4) * 256 * wire.PAGE) for tag in range(64)]
        # By this thread: a connection of Python's ssl must not be written to and read from at once.
        other.send(b"".join(requests))
        for tag in range(64):
            answer = other.receive()
            assert answer.tag == tag
            assert wire.split_pages(answer, 256) == pages
        assert c.drop(0, 256).value == 256
        assert c.claim(1).value == 2
        assert c.close(session).status == wire.OK


def test_a_frame_in_many_records_and_many_frames_in_one(memserver, session):
    put = wire.request(wire.PUT, 2, 5, 0, wire.put_payload([page_of(1), page_of(2)]))
    with memserver.attached(session) as c:
        for i in range(0, len(put), 1000):
            c.send(put[i : i + 1000])
        assert c.receive().status == wire.OK
        c.send(b"".join(wire.request(wire.GET, 1, tag, 4096) for tag in range(1000)))
        assert {wire.split_pages(c.receive(), 1)[0] for _ in range(1000)} == {page_of(2)}


def test_a_reader_that_is_slow_gets_everything(memserver, session):
    """The socket fills while answers wait: records are cut off in the middle and gone on with."""
    pages = [page_of(i) for i in range(256)]
    with memserver.attached(session) as c:
        c.put(0, pages)
        c.send(b"".join(wire.request(wire.GET, 256, tag) for tag in range(24)))
        time.sleep(1)  # the reader's slowness
        for _ in range(24):
            assert wire.split_pages(c.receive(), 256) == pages


def test_the_last_answer_arrives_before_the_end(memserver):
    with memserver.connect() as c:
        c.send(b"\0" * 400000)
        assert c.receive().status == wire.BAD_REQUEST
        assert c.is_closed()


def test_known_by_address_or_by_common_name(memserver, authority, tmp_path):
    for name, common_name, names in (("a", "any", "IP:192.0.2.7"), ("b", "legacy", ""), ("c", "any", "DNS:MAIN-1")):
        memserver.connect(tls=context(authority.issue(tmp_path / name, common_name, names)))


@pytest.mark.parametrize(
    ("common_name", "names", "purpose", "days", "alert", "text"),
    [
        ("main-2", "DNS:main-2", "serverAuth,clientAuth", 1, "TLSV1_ALERT_ACCESS_DENIED", "for no known host: main-2"),
        # A common name counts only where there is no other name, as everywhere.
        ("legacy", "DNS:main-2", "serverAuth,clientAuth", 1, "TLSV1_ALERT_ACCESS_DENIED", "for no known host: legacy"),
        ("main-1", "DNS:*.main-1", "clientAuth", 1, "TLSV1_ALERT_ACCESS_DENIED", "for no known host: main-1"),
        ("main-1\n<0>lie", "", "clientAuth", 1, "TLSV1_ALERT_ACCESS_DENIED", r"for no known host: main-1?\<0\>lie"),
        ("main-1", KNOWN, "serverAuth", 1, "SSLV3_ALERT_BAD_CERTIFICATE", "The certificate is NOT trusted"),
        ("main-1", KNOWN, "clientAuth", -1, "SSLV3_ALERT_CERTIFICATE_EXPIRED", "expired"),
    ],
)
def test_refused(memserver, authority, tmp_path, common_name, names, purpose, days, alert, text):
    folder = authority.issue(tmp_path / "stranger", common_name, names, purpose, days)
    with memserver.connect() as other:
        assert alert_to(memserver, context(folder)) == alert
        assert text in reason(memserver)
        assert other.sync().status == wire.OK


def test_another_ca_is_refused(memserver, folder, tmp_path):
    stranger = Authority(tmp_path / "other-ca").issue(tmp_path / "stranger", "main-1", KNOWN)
    shutil.copy(folder / "ca-cert.pem", stranger)
    assert alert_to(memserver, context(stranger)) == "TLSV1_ALERT_UNKNOWN_CA"
    assert "NOT trusted" in reason(memserver)


def test_no_certificate_is_refused(memserver, folder):
    assert "CERTIFICATE_REQUIRED" in alert_to(memserver, context(folder, own=False))
    assert "ertificate" in reason(memserver)


def test_an_older_tls_is_refused(memserver, main_1):
    main_1.maximum_version = ssl.TLSVersion.TLSv1_2
    assert alert_to(memserver, main_1) in ("TLSV1_ALERT_PROTOCOL_VERSION", "SSLV3_ALERT_HANDSHAKE_FAILURE")


def test_plain_text_is_refused(memserver):
    with Connection(memserver.address) as c:
        c.send(wire.request(wire.HELLO, payload=wire.hello_payload()))
        answer = c.socket.recv(100)
        # An alert, perhaps, but no word of the protocol.
        assert answer[:1] != bytes([wire.MAGIC_RESPONSE])
    assert reason(memserver)


def test_a_record_that_was_tampered_with_ends_the_connection(memserver, session):
    with memserver.attached(session) as c:
        raw = socket.socket(fileno=os.dup(c.socket.fileno()))
        raw.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
        raw.close()
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            c.receive()
    assert "ecrypt" in reason(memserver)


def test_keys_are_updated(memserver, folder, tmp_path):
    """As they have to be after some 400 GB; openssl asks for it with a line K, and answers with new keys too."""
    own = tmp_path / "main-1"
    address = "{}:{}".format(*memserver.address)
    client = subprocess.Popen(
        ["openssl", "s_client", "-connect", address, "-CAfile", folder / "ca-cert.pem",
         "-cert", own / "client-cert.pem", "-key", own / "client-key.pem"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
    )  # fmt: skip

    def say(data: bytes, answer: bytes) -> None:
        client.stdin.write(data)
        said = b""
        while answer not in said:
            said += client.stdout.read(1)

    hello = wire.request(wire.HELLO, payload=wire.hello_payload())
    sync = bytes([wire.MAGIC_RESPONSE, wire.SYNC])
    say(hello, bytes([wire.MAGIC_RESPONSE, wire.HELLO]))
    for _ in range(3):
        say(b"K\n", b"KEYUPDATE\n")
        say(wire.request(wire.SYNC), sync)
    client.stdin.close()
    assert client.wait(20) == 0
    client.stdout.close()
    assert "TLS failed" not in memserver.log.read_text()


def test_the_control_socket_stays_plain(memserver):
    with memserver.connect_local() as c:
        assert c.stat()["sessions"] == []


def test_one_who_does_not_shake_hands_is_sent_away(memserver):
    """At HELLO's deadline, whether it says nothing or half of what it should."""
    silent = socket.create_connection(memserver.address)
    half = socket.create_connection(memserver.address)
    half.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    start = time.monotonic()
    for peer in (silent, half):
        peer.settimeout(20)
        assert peer.recv(100) == b""
        peer.close()
    assert 8 < time.monotonic() - start < 14
    assert "TLS failed: the handshake takes too long" in memserver.log.read_text()


def reload(memserver) -> None:
    said = len(memserver.log.read_text())
    memserver.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while not re.search("read again|stay in force", memserver.log.read_text()[said:]):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def install(memserver, source: pathlib.Path, target: pathlib.Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)
    reload(memserver)


def test_reload_drops_nothing(memserver, authority, folder, peers, session, main_1, tmp_path):
    """New certificates of a new CA and other known hosts are in force; who is there goes on."""
    with memserver.attached(session) as c:
        c.put(0, [page_of(1)])
        others = Authority(tmp_path / "new-ca")
        install(memserver, others.issue(tmp_path / "new", "sub-1", f"IP:{ME}"), folder)
        assert "were read again" in memserver.log.read_text()
        with pytest.raises(ssl.SSLError):
            memserver.connect(tls=main_1)
        with memserver.connect(tls=context(others.issue(tmp_path / "main", "main-1", KNOWN))) as again:
            assert again.attach(session).status == wire.OK
            assert again.pages(0) == [page_of(1)]
        peers.write_text("main-3\n")
        reload(memserver)
        with pytest.raises(ssl.SSLError):
            memserver.connect(tls=context(tmp_path / "main"))
        assert memserver.connect(tls=context(others.issue(tmp_path / "main-3", "main-3"))).sync().status == wire.OK
        assert c.pages(0) == [page_of(1)]
        assert c.put(0, [page_of(2)]).status == wire.OK


def test_a_revoked_certificate_is_refused(memserver, authority, folder, main_1, tmp_path):
    stolen = authority.issue(tmp_path / "stolen", "main-1", KNOWN)
    with memserver.connect(tls=context(stolen)):
        (folder / "ca-crl.pem").write_bytes(authority.revoke(stolen))
        reload(memserver)
        assert alert_to(memserver, context(stolen)) == "SSLV3_ALERT_CERTIFICATE_REVOKED"
        assert "revoked" in reason(memserver)
        assert memserver.connect(tls=main_1).sync().status == wire.OK


def truncate(folder, peers, authority):
    (folder / "server-cert.pem").write_text("-----BEGIN CERTIFICATE-----\n")


def other_key(folder, peers, authority):
    shutil.copy(authority.issue(folder.parent / "x", "sub-1", f"IP:{ME}") / "server-key.pem", folder)


def expired(folder, peers, authority):
    shutil.copytree(authority.issue(folder.parent / "x", "sub-1", f"IP:{ME}", days=-1), folder, dirs_exist_ok=True)


def no_ca(folder, peers, authority):
    (folder / "ca-cert.pem").unlink()


def no_client(folder, peers, authority):
    (folder / "client-cert.pem").unlink()


def no_peers(folder, peers, authority):
    peers.write_text("# nobody\n")


def bad_crl(folder, peers, authority):
    (folder / "ca-crl.pem").write_text("-----BEGIN X509 CRL-----\n")


BAD = {
    truncate: "server-cert.pem", other_key: "server-key.pem", expired: "expired", no_ca: "ca-cert.pem",
    no_client: "client-cert.pem", no_peers: "names no host", bad_crl: "ca-crl.pem",
}  # fmt: skip


@pytest.mark.parametrize("damage", BAD, ids=lambda damage: damage.__name__)
def test_a_bad_new_file_keeps_the_old_ones(memserver, memserver_binary, authority, folder, peers, damage):
    damage(folder, peers, authority)
    reload(memserver)
    log = memserver.log.read_text()
    assert "stay in force" in log
    assert BAD[damage] in log
    assert memserver.connect().sync().status == wire.OK
    fresh = run(memserver_binary, "--tls", folder, "--peers", peers)
    assert fresh.returncode == 1
    assert BAD[damage] in fresh.stderr


def run(binary, *arguments, listen: str = f"{ME}:0") -> subprocess.CompletedProcess:
    command = [binary, "--capacity", "8192", "--listen", listen, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=False, env={**os.environ, **SANITIZER_OPTIONS}
    )


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_plain_text_off_loopback_has_to_be_asked_for(memserver_binary, listen):
    refused = run(memserver_binary, listen=listen)
    assert refused.returncode == 1
    assert "is not loopback: give --tls, or --plain" in refused.stderr


def test_plain_text_off_loopback_can_be_asked_for(start):
    memserver = start(options=("--listen", "0.0.0.0:0", "--plain"))
    assert memserver.connect().sync().status == wire.OK


@pytest.mark.parametrize("options", [("--tls", "/x"), ("--peers", "/x"), ("--tls", "/x", "--peers", "/x", "--plain")])
def test_options_that_do_not_go_together(memserver_binary, options):
    refused = run(memserver_binary, *options)
    assert refused.returncode == 2
    assert "go together" in refused.stderr


def test_handshakes_reloads_and_pages_at_once(start_with_tls, memserver_tsan, session):
    memserver = start_with_tls(binary=memserver_tsan)
    failures = []

    def come_and_go():
        try:
            for _ in range(30):
                with memserver.connect() as c:
                    assert c.sync().status == wire.OK
        except BaseException as error:
            failures.append(error)
            raise

    with memserver.attached(session) as c:
        c.put(0, [page_of(1)])
        threads = [threading.Thread(target=come_and_go) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            memserver.process.send_signal(signal.SIGHUP)
            assert c.pages(0) == [page_of(1)]
        for thread in threads:
            thread.join()
    assert not failures


def test_pages_are_copied_over_it(start_with_tls, peers, session):
    peers.write_text(peers.read_text() + "sub-1\n")
    source, target = start_with_tls(name="source"), start_with_tls(name="target")
    with source.attached(session) as here, target.attached(session) as there:
        here.put(0, [page_of(i) for i in range(256)])
        assert here.copy(0, 256, session.holder, target.address).value == 256
        assert there.pages(0, 256) == [page_of(i) for i in range(256)]


def test_pages_are_copied_to_known_hosts_only(start_with_tls, session):
    source, target = start_with_tls(name="source"), start_with_tls(name="target")
    with source.attached(session) as here, target.attached(session) as there:
        here.put(0, [page_of(1)])
        answer = here.copy(0, 1, session.holder, target.address)
        assert answer.status == wire.COPY_FAILED
        assert "sub-1" in reason(target)
        answer = here.copy(0, 1, session.holder, ("localhost", target.address[1]))
        assert answer.status == wire.COPY_FAILED
        assert "localhost" in answer.text
        assert there.stat()["used"] == 0
