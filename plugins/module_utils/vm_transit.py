# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that comes to this host, and one that has left it.

Each step looks first, and is done again without harm where a run was cut off.
"""

from __future__ import annotations

import os

from ansible_collections.smemv.kvm.plugins.module_utils import tls, vm
from ansible_collections.smemv.kvm.plugins.module_utils.errors import HostError, QmpError


def listen(vms, name, config, address, ports, secure, check):
    """Have a QEMU wait for the VM.

    :param vms: a VmHost.
    :param config: the VM's configuration on the host that it comes from.
    :param address: of this host, where its memory and devices are received.
    :param ports: (first, last) to listen on; the first free one is taken.
    :param secure: whether the VM comes by TLS.
    :returns: {changed, diff, address, port}; port is None in check mode where nothing listens yet.
    """
    missing = [path for path in vm.paths_wanted(config) if not os.path.exists(path)]
    if missing:
        raise HostError("there is no {}, which VM {} uses".format(", no ".join(missing), name))
    if secure:
        tls.check()
    found = vms.describe(name)
    if found is not None:
        if found["adopted"]:
            raise HostError(f"there is a VM {name} of this host's own, {found['state']}")
        if found["state"] == "running":
            raise HostError(f"VM {name} has come here already, and runs")
        port = _listening_port(found)
        if port is not None and found["config"] == config:
            return _result(found, found, address=address, port=port)
    waits = {"state": "incoming", "adopted": False}
    if check:
        return _result(found, waits, address=address, port=None)
    if found is not None:
        _remove(vms, name)
    vms.define(name, config, incoming=True)
    try:
        vms.start(name)
        with vms.connect(name) as client:
            tls.be_destination(client, secure)
            client.execute("migrate-incoming", channels=[_channel(address, ports)])
            port = _listening_port({"migration": client.execute("query-migrate")})
    except (HostError, QmpError):
        _remove(vms, name)
        raise
    return _result(found, waits, address=address, port=port)


def _channel(address, ports):
    first, last = ports
    inet = {"transport": "socket", "type": "inet", "host": address, "port": str(first), "to": last}
    return {"channel-type": "main", "addr": inet}


def _listening_port(found):
    migration = found["migration"] or {}
    for listener in migration.get("socket_address") or migration.get("socket-address") or []:
        if listener["type"] == "inet":
            return int(listener["port"])
    return None


def _result(before, after, **more):
    """{changed, diff} and more, from what VmHost.describe() says of the VM; the same one twice is no change."""
    diff = {"before": _outline(before), "after": _outline(after)}
    return {"changed": after is not before, "diff": diff, **more}


def _outline(found):
    return {key: found[key] for key in ("state", "adopted")} if found else {"state": "absent", "adopted": False}


def _remove(vms, name):
    vms.stop(name)
    vms.undefine(name)


def adopt(vms, name, check):
    """Make the VM that came in this host's own. Returns {changed, diff}."""
    found = vms.describe(name)
    if found is None:
        raise HostError(f"there is no VM {name} here")
    if found["adopted"]:
        return _result(found, found)
    if found["state"] not in ("running", "paused"):
        raise HostError(f"VM {name} has not come here: it is {found['state']}")
    if not check:
        vms.adopt(name)
    return _result(found, dict(found, adopted=True))


def give_up(vms, name, check):
    """No longer expect the VM. A VM of this host's own stays untouched. Returns {changed, diff}."""
    found = vms.describe(name)
    if found is None or found["adopted"]:
        return _result(found, found)
    if found["state"] == "running":
        raise HostError(f"VM {name} has come here already, and runs")
    if not check:
        _remove(vms, name)
    return _result(found, None)


def release(vms, name, check):
    """Remove what a VM that runs elsewhere now has left on this host. Returns {changed, diff}."""
    found = vms.describe(name)
    if found is None:
        return _result(found, found)
    if found["state"] not in ("moved", "stopped", "incoming"):
        raise HostError(f"VM {name} has not left this host: it is {found['state']}")
    if not check:
        vms.quit(name)
        vms.undefine(name)
    return _result(found, None)
