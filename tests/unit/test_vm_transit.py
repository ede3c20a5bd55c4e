# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils import vm_transit
from ansible_collections.smemv.kvm.plugins.module_utils.errors import HostError, QmpCommandError
from fake_qmp import Refusal

PORTS = (4780, 4879)
LISTENING = {"socket-address": [{"type": "inet", "host": "198.18.0.2", "port": "4781"}]}


def listen(host, config=None, check=False):
    return vm_transit.listen(host.vms, "big", config or host.config(), "198.18.0.2", PORTS, False, check)


def expecting(host, **answers):
    """The host's next QEMU waits, and listens once it is told to."""
    answers = {"query_status": {"status": "inmigrate"}, "migrate_incoming": {}, "query_migrate": LISTENING, **answers}
    host.systemd.on_start = lambda _unit: host.run("big", **answers)


def test_a_host_is_made_to_wait_and_waits_on(host):
    expecting(host)
    diff = {"before": {"state": "absent", "adopted": False}, "after": {"state": "incoming", "adopted": False}}
    waits = {"changed": True, "diff": diff, "address": "198.18.0.2"}
    assert listen(host, check=True) == {**waits, "port": None}
    assert host.vms.describe("big") is None
    assert listen(host) == {**waits, "port": 4781}
    (arguments,) = [
        arguments for name, arguments in host.running["smemv-vm-big.service"].calls if name == "migrate-incoming"
    ]
    inet = {"transport": "socket", "type": "inet", "host": "198.18.0.2", "port": "4780", "to": 4879}
    assert arguments == {"channels": [{"channel-type": "main", "addr": inet}]}
    for check in (True, False):
        waits_on = {"changed": False, "diff": {"before": diff["after"], "after": diff["after"]}}
        assert listen(host, check=check) == {**waits_on, "address": "198.18.0.2", "port": 4781}
    assert host.vms.describe("big")["adopted"] is False


def test_what_waits_with_another_configuration_is_replaced(host):
    expecting(host)
    listen(host)
    assert listen(host, host.config(vcpus=2))["changed"] is True
    assert host.vms.config("big")["vcpus"] == 2


def test_no_free_port_leaves_nothing(host):
    expecting(host, migrate_incoming=Refusal("GenericError", "Address already in use"))
    with pytest.raises(QmpCommandError, match="already in use"):
        listen(host)
    assert host.vms.describe("big") is None


def test_a_vm_of_the_hosts_own_is_in_the_way(host):
    host.vms.define("big", host.config())
    with pytest.raises(HostError, match="there is a VM big of this host's own, stopped"):
        listen(host)


def test_missing_files_are_named_before_anything_starts(host):
    with pytest.raises(HostError, match="there is no /nowhere/disk, which VM big uses"):
        listen(host, host.config(disks=[{"path": "/nowhere/disk"}]), check=True)


def arrived(host):
    host.vms.define("big", host.config(), incoming=True)
    host.run("big")


def test_a_vm_that_came_is_adopted(host):
    arrived(host)
    assert vm_transit.adopt(host.vms, "big", True)["changed"] is True
    assert vm_transit.adopt(host.vms, "big", False)["changed"] is True
    assert vm_transit.adopt(host.vms, "big", False)["changed"] is False


def test_a_vm_that_did_not_come_is_not(host):
    with pytest.raises(HostError, match="there is no VM big"):
        vm_transit.adopt(host.vms, "big", False)
    host.vms.define("big", host.config(), incoming=True)
    with pytest.raises(HostError, match="has not come here: it is stopped"):
        vm_transit.adopt(host.vms, "big", False)


def test_a_vm_that_came_is_not_given_up(host):
    arrived(host)
    with pytest.raises(HostError, match="has come here already"):
        vm_transit.give_up(host.vms, "big", False)
    with pytest.raises(HostError, match="has come here already"):
        listen(host)


def test_waiting_is_given_up(host):
    expecting(host)
    listen(host)
    assert vm_transit.give_up(host.vms, "big", True)["changed"] is True
    assert vm_transit.give_up(host.vms, "big", False)["changed"] is True
    assert vm_transit.give_up(host.vms, "big", False)["changed"] is False
    assert host.vms.describe("big") is None


def test_a_vm_of_the_hosts_own_is_not_given_up(host):
    host.vms.define("big", host.config())
    assert vm_transit.give_up(host.vms, "big", False)["changed"] is False
    assert host.vms.describe("big")["adopted"] is True


def test_what_a_vm_left_is_removed(host):
    host.vms.define("big", host.config())
    qemu = host.run("big", query_status={"status": "postmigrate"}, quit={})
    assert vm_transit.release(host.vms, "big", True)["changed"] is True
    assert "quit" not in qemu.commands()
    assert vm_transit.release(host.vms, "big", False)["changed"] is True
    assert qemu.commands()[-1] == "quit"
    assert vm_transit.release(host.vms, "big", False)["changed"] is False


@pytest.mark.parametrize("run_state", ["running", "paused", "finish-migrate"])
def test_a_vm_that_has_not_left_is_not_removed(host, run_state):
    host.vms.define("big", host.config())
    qemu = host.run("big", query_status={"status": run_state}, quit={})
    with pytest.raises(HostError, match="has not left this host"):
        vm_transit.release(host.vms, "big", False)
    assert "quit" not in qemu.commands()
