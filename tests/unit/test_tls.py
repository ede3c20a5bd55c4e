# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils import tls
from ansible_collections.smemv.kvm.plugins.module_utils.errors import HostError


class Client:
    """A QMP client that notes what it is asked."""

    def __init__(self, *objects):
        self.objects = objects
        self.calls = []

    def execute(self, command, **arguments):
        self.calls.append((command, arguments))
        return [{"name": name} for name in self.objects] if command == "qom-list" else {}


@pytest.fixture
def certificates(tmp_path, monkeypatch):
    monkeypatch.setattr(tls, "FOLDER", str(tmp_path))
    (tmp_path / "client-cert.pem").touch()
    return str(tmp_path)


def added(client):
    return {call["id"]: call for command, call in client.calls if command == "object-add"}


def test_a_source_has_the_clients_end(certificates):
    client = Client()
    assert tls.be_source(client, True) == {"tls_creds": "smemv-tls"}
    assert added(client) == {
        "smemv-tls": {
            "qom_type": "tls-creds-x509", "id": "smemv-tls", "dir": certificates, "endpoint": "client",
            "verify_peer": True,
        }
    }  # fmt: skip
    assert client.calls[-1] == ("migrate-set-parameters", {"tls_creds": "smemv-tls"})


def test_a_destination_has_both_ends(certificates):
    client = Client()
    tls.be_destination(client, True)
    assert {name: call["endpoint"] for name, call in added(client).items()} == {
        "smemv-tls": "client",
        "smemv-tls-server": "server",
    }
    assert client.calls[-1] == ("migrate-set-parameters", {"tls_creds": "smemv-tls-server"})


def test_certificates_of_the_last_move_are_replaced(certificates):
    client = Client("smemv-tls", "other")
    tls.be_source(client, True)
    assert [call for command, call in client.calls if command == "object-del"] == [{"id": "smemv-tls"}]


def test_without_tls_an_earlier_choice_is_undone():
    client = Client()
    assert tls.be_source(client, False) == {}
    assert client.calls == [("migrate-set-parameters", {"tls_creds": ""})]


@pytest.mark.parametrize("prepare", [tls.be_source, tls.be_destination])
def test_a_host_without_certificates_is_told_what_to_do(certificates, tmp_path, prepare):
    (tmp_path / "client-cert.pem").unlink()
    client = Client()
    with pytest.raises(HostError, match="let site.yml, or the role pki, make them"):
        prepare(client, True)
    assert client.calls == []
