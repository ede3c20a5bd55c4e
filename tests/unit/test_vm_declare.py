# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import ConfigError, HostError
from ansible_collections.smemv.kvm.plugins.module_utils.vm_declare import declare


def params(host, state="running", **settings):
    config = {"memory": "1GiB", "qemu": str(host.binary), "accel": "tcg"}
    return {"name": "big", "state": state, "shutdown_timeout": 0, **config, **settings}


@pytest.fixture
def startable(host):
    """A host where a started unit has a QEMU."""
    host.systemd.on_start = lambda _unit: host.run("big")
    return host


@pytest.mark.parametrize(
    ("state", "actions"),
    [("running", ["define", "start"]), ("stopped", ["define"]), ("absent", [])],
)
def test_four_ways(startable, state, actions):
    wanted = params(startable, state)
    foretold = declare(startable.vms, wanted, True)
    assert startable.vms.describe("big") is None
    done = declare(startable.vms, wanted, False)
    assert (done["actions"], done["changed"]) == (actions, bool(actions))
    assert foretold == done
    for check in (True, False):
        again = declare(startable.vms, wanted, check)
        assert (again["actions"], again["changed"]) == ([], False)
        assert again["diff"]["before"] == again["diff"]["after"]


def test_a_running_vm_is_stopped_and_removed(startable):
    declare(startable.vms, params(startable), False)
    assert declare(startable.vms, params(startable, "stopped"), False)["actions"] == ["stop"]
    assert declare(startable.vms, params(startable), False)["actions"] == ["start"]
    removed = declare(startable.vms, params(startable, "absent"), False)
    assert removed["actions"] == ["stop", "remove"]
    assert removed["diff"]["after"] == {"state": "absent", "config": None}
    assert "config" not in removed


def test_a_stopped_vm_is_changed(startable):
    declare(startable.vms, params(startable, "stopped"), False)
    changed = declare(startable.vms, params(startable, "stopped", vcpus=2), False)
    assert changed["actions"] == ["define"]
    assert (changed["diff"]["before"]["config"]["vcpus"], changed["config"]["vcpus"]) == (1, 2)


def test_a_running_vm_is_not_changed(startable):
    declare(startable.vms, params(startable), False)
    with pytest.raises(ConfigError, match="VM big runs with another vcpus, cpu: stop it"):
        declare(startable.vms, params(startable, vcpus=2, cpu="max"), False)
    assert startable.vms.config("big")["vcpus"] == 1


def test_a_vm_on_its_way_is_left_alone(host):
    host.vms.define("big", host.config(), incoming=True)
    for state in ("running", "stopped", "absent"):
        with pytest.raises(HostError, match="is on its way to this host"):
            declare(host.vms, params(host, state), False)


def test_a_vm_that_has_moved_is_left_alone(host):
    host.vms.define("big", host.config())
    host.run("big", query_status={"status": "postmigrate"})
    for state in ("running", "stopped", "absent"):
        with pytest.raises(HostError, match="has moved to another host"):
            declare(host.vms, params(host, state), False)
