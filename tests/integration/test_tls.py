# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles pki and memserver with TLS, on two hosts of their own: certificates, who gets in, and renewal."""

from __future__ import annotations

import os
import re

import pytest

from tests.integration.cluster import Cluster

PLAY = "../tests/integration/certificates.yml"
OWN = {"ca": "/root/own/ca.pem", "certificate": "/root/own/cert.pem", "key": "/root/own/key.pem"}


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return tmp_path_factory.mktemp("ca") / "ca"


@pytest.fixture(scope="module")
def hosts(ca):
    """Two hosts that have been prepared, after that was asked for in check mode."""
    hosts = Cluster(f"s{os.getpid()}")
    hosts.run("up", "--hosts", "2", "--memory", "1G")
    try:
        asked = hosts.play(PLAY, "--check", pki_ca_folder=str(ca))
        assert asked.code == 0, asked.output
        assert min(counts["changed"] for counts in asked.recap.values()) > 0
        assert not ca.exists()
        done = hosts.play(PLAY, pki_ca_folder=str(ca))
        assert done.code == 0, done.output
        yield hosts
    finally:
        hosts.run("down")


def memserver(hosts, host="host-2"):
    """The process that serves, by its id and its start."""
    return hosts.ssh(host, "systemctl show smemv-memserver --property MainPID,ExecMainStartTimestamp,NRestarts")


def serial(hosts, host="host-2"):
    return hosts.ssh(host, "openssl x509 -noout -serial -in /etc/smemv/pki/server-cert.pem")


def handshake(hosts, *options):
    """What openssl on host-1 says of the memserver of host-2; it reads until the memserver sends it away."""
    address = hosts.ssh("host-1", "getent hosts host-2").split()[0]
    own = "-cert /etc/smemv/pki/client-cert.pem -key /etc/smemv/pki/client-key.pem"
    command = (
        f"cd /etc/smemv/pki && (sleep 1; echo) | openssl s_client -connect {address}:4770 -CAfile ca-cert.pem "
        f"-verify_return_error -verify_ip {address} {' '.join(options or [own])} 2>&1"
    )
    return hosts.try_ssh("host-1", command).stdout


@pytest.mark.parametrize("mode", [["--check"], []])
def test_a_second_run_changes_nothing(hosts, ca, mode):
    before = memserver(hosts), serial(hosts)
    again = hosts.play(PLAY, *mode, pki_ca_folder=str(ca))
    assert again.code == 0, again.output
    assert again.changed == 0, again.output
    assert (memserver(hosts), serial(hosts)) == before


def test_keys_stay_where_they_were_made(hosts, ca):
    assert sorted(path.name for path in ca.iterdir()) == ["ca-cert.pem", "ca-key.pem"]
    assert ca.stat().st_mode & 0o777 == 0o700
    assert hosts.ssh("host-1", "stat -c '%a %U %G' /etc/smemv/pki/server-key.pem") == "640 root smemv"
    keys = {hosts.ssh(host, "sha256sum </etc/smemv/pki/server-key.pem") for host in ("host-1", "host-2")}
    assert len(keys) == 2


def test_a_known_host_gets_in_and_others_do_not(hosts):
    known = handshake(hosts)
    assert "Verify return code: 0 (ok)" in known
    assert "TLSv1.3" in known
    assert "alert" not in known
    assert "certificate required" in handshake(hosts, "-tls1_3")
    failures = re.findall("TLS failed: (.*)", hosts.ssh("host-2", "journalctl --unit smemv-memserver --output cat"))
    assert len(failures) == 1


def test_metrics_are_served_on_the_host(hosts):
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9470/metrics').read().decode())"
    text = hosts.ssh("host-2", f'python3 -c "{script}"')
    assert re.search(r"^smemv_memserver_capacity_bytes 536870912$", text, re.MULTILINE)
    assert "smemv_memserver_tls_certificate_expiry_timestamp_seconds" in text


def test_it_is_little_exposed(hosts):
    overall = hosts.ssh("host-2", "systemd-analyze security --no-pager smemv-memserver | tail --lines 1")
    assert float(re.search(r"exposure level .*: (\d+\.\d+)", overall)[1]) <= 2.0


def test_renewal_before_expiry_and_without_a_restart(hosts, ca):
    process, old = memserver(hosts), serial(hosts)
    sooner = {"pki_ca_folder": str(ca), "pki_days": 500, "pki_renew_days": 400}
    renewed = hosts.play(PLAY, **sooner)
    assert renewed.code == 0, renewed.output
    assert serial(hosts) != old
    assert memserver(hosts) == process
    assert "were read again" in hosts.ssh("host-2", "journalctl --unit smemv-memserver --output cat")
    assert "Verify return code: 0 (ok)" in handshake(hosts)
    new = serial(hosts)
    again = hosts.play(PLAY, **sooner)
    assert again.changed == 0, again.output
    assert serial(hosts) == new


def test_the_operators_own_certificates(hosts, ca):
    """Taken as they are; refused, with all left as it was, where a key is another's."""
    process = memserver(hosts)
    for host in ("host-1", "host-2"):
        hosts.ssh(host, "mkdir -p /root/own && cd /etc/smemv/pki && cp ca-cert.pem /root/own/ca.pem && "
                        "cp server-cert.pem /root/own/cert.pem && cp server-key.pem /root/own/key.pem")  # fmt: skip
    hosts.ssh("host-2", "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out /root/own/other.pem")
    refused = hosts.play(PLAY, "--limit", "host-2", pki_own={**OWN, "key": "/root/own/other.pem"})
    assert refused.code != 0
    assert "/root/own/other.pem is not the key of /root/own/cert.pem" in refused.message
    taken = hosts.play(PLAY, pki_own=OWN)
    assert taken.code == 0, taken.output
    assert hosts.play(PLAY, "--check", pki_own=OWN).changed == 0
    assert "Verify return code: 0 (ok)" in handshake(hosts)
    assert memserver(hosts) == process
