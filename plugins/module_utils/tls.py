# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS of a VM's QEMU: with memservers, and with the QEMU that a VM moves from or to.

The certificates are the host's, laid by the role pki. QEMU knows them as objects, which are made anew for each
move, so that renewed certificates are in use.
"""

from __future__ import annotations

import os

from ansible_collections.smemv.kvm.plugins.module_utils.errors import HostError

FOLDER = "/etc/smemv/pki"
# A split VM's destination looks for credentials of the same id as its source's.
CLIENT = "smemv-tls"
SERVER = "smemv-tls-server"


def check():
    """Refuse a host without certificates.

    :raises HostError: with what to do.
    """
    if not os.path.exists(os.path.join(FOLDER, "client-cert.pem")):
        raise HostError(
            f"there are no certificates in {FOLDER}: let site.yml, or the role pki, make them;"
            " or say relocate_tls: false where anybody on the network may read what VMs have in memory"
        )


def be_source(client, tls):
    """Prepare the QEMU that a VM leaves. Returns what smemv-set-target is told of it."""
    if tls:
        check()
        _make(client, CLIENT, "client")
    client.execute("migrate-set-parameters", tls_creds=CLIENT if tls else "")
    return {"tls_creds": CLIENT} if tls else {}


def be_destination(client, tls):
    """Prepare the QEMU that a VM comes to."""
    if tls:
        check()
        # With the server's end it is sent the VM; with the client's end it speaks with memservers.
        _make(client, SERVER, "server")
        _make(client, CLIENT, "client")
        client.execute("migrate-set-parameters", tls_creds=SERVER)


def _make(client, name, endpoint):
    if name in [item["name"] for item in client.execute("qom-list", path="/objects")]:
        client.execute("object-del", id=name)
    client.execute("object-add", qom_type="tls-creds-x509", id=name, dir=FOLDER, endpoint=endpoint, verify_peer=True)
