# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module in check mode, for real, in check mode again and for real again, and what it returns each time."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.smemv.kvm.plugins.module_utils import host as host_module
from ansible_collections.smemv.kvm.plugins.modules import memserver_session
from clusters import NAMES as HOSTS
from clusters import cluster, put
from run_module import MODULES, NAMES, returned, run_module

GIB = 1 << 30
SUB_HOST = {"name": "host-3", "address": "198.18.0.3", "port": 4770, "share": GIB}
AIM = {"name": "big", "destination_host": "host-2", "destination_address": "198.18.0.2", "destination_port": 4780}
LAYOUT = {"main_memory": "1GiB", "sub_hosts": [SUB_HOST]}
WAITING = {"timeout": 5, "poll_interval": 0.01}
WHOLE = {"state": "whole", "total": 2 * GIB, "limit": 0, "sub-hosts": [], "rebalancing": False}
SPLIT = {
    **WHOLE,
    "state": "split",
    "limit": GIB,
    "sub-hosts": [{"name": "host-3", "share": GIB, "remote": 5, "sent": 10, "leaving": False}],
}
COMMANDS = ("migrate-set-capabilities", "migrate-set-parameters", "smemv-set-target", "smemv-clear-target")


class Guest:
    """A VM's QEMU that does what it is told at once."""

    def __init__(self, host, memory=WHOLE):
        self._host = host
        self.memory = memory
        self.state = "running"
        self.migration = {}
        host.vms.define("big", host.config())
        self.run()

    def run(self):
        qemu = self._host.run("big")
        qemu.answers.update(
            {
                **dict.fromkeys(COMMANDS, {}),
                "query-status": lambda _: {"status": self.state},
                "query-migrate": lambda _: self.migration,
                "query-smemv": lambda _: self.memory,
                "migrate": self._migrate,
                "migrate_cancel": self._cancel,
                "migrate-incoming": self._listen,
                "smemv-rebalance": self._rebalance,
                "quit": {},
            }
        )

    def _migrate(self, _arguments):
        self.state = "postmigrate"
        self.migration = {"status": "completed", "total-time": 2600, "downtime": 35, "ram": {"transferred": 1234}}
        return {}

    def _cancel(self, _arguments):
        self.migration = {"status": "cancelled"}
        return {}

    def _listen(self, _arguments):
        self.migration = {"socket-address": [{"type": "inet", "host": "198.18.0.2", "port": "4781"}]}
        return {}

    def _rebalance(self, arguments):
        hosts = [{**host, "remote": 0, "leaving": False} for host in arguments["sub-hosts"]]
        self.memory = {**SPLIT, "limit": arguments["main-limit"], "sub-hosts": hosts}
        return {}


def split_migrate(host):
    Guest(host)
    return {**AIM, **LAYOUT, **WAITING, "tls": False}


def remigrate(host):
    Guest(host, SPLIT)
    return {**AIM, **LAYOUT, **WAITING, "tls": False}


def consolidate(host):
    Guest(host, SPLIT)
    return {**AIM, **WAITING, "tls": False}


def rebalance(host):
    Guest(host, SPLIT)
    return {"name": "big", "main_memory": "1GiB", "sub_hosts": [{**SUB_HOST, "name": "host-4"}], **WAITING}


def relocation_cancel(host):
    Guest(host).migration = {"status": "active"}
    return {"name": "big"}


def vm(host):
    host.systemd.on_start = lambda _unit: host.run("big")
    return {"name": "big", "memory": "1GiB", "accel": "tcg", "qemu": str(host.binary)}


def vm_incoming(host):
    guest = Guest(host)
    config = host.vms.config("big")
    host.vms.stop("big")
    host.vms.undefine("big")
    guest.state = "inmigrate"
    host.systemd.on_start = lambda _unit: guest.run()
    return {"name": "big", "config": config, "address": "198.18.0.2", "tls": False}


def vm_release(host):
    Guest(host).state = "postmigrate"
    return {"name": "big"}


CHANGING = [split_migrate, remigrate, consolidate, rebalance, relocation_cancel, vm, vm_incoming, vm_release]


@pytest.mark.parametrize("begin", CHANGING)
def test_four_ways(host, monkeypatch, begin):
    args = begin(host)

    def run(check):
        return run_module(monkeypatch, host.vms, begin.__name__, args, check)

    before = host.vms.describe("big")
    foretold = run(True)
    assert host.vms.describe("big") == before
    done = run(False)
    assert (foretold["changed"], done["changed"]) == (True, True)
    assert foretold["diff"] == done["diff"]
    assert done["diff"]["before"] != done["diff"]["after"]
    for check in (True, False):
        again = run(check)
        assert (again["changed"], again.get("actions", [])) == (False, [])
        assert again["diff"]["before"] == again["diff"]["after"]


@pytest.mark.parametrize(("state", "name"), [("incoming", "adopted"), ("incoming", "absent")])
def test_vm_incoming_four_ways_to_its_other_states(host, monkeypatch, state, name):
    guest = Guest(host)
    host.vms.define("big", host.vms.config("big"), incoming=True)
    guest.state = "running" if name == "adopted" else "inmigrate"
    changes = [
        run_module(monkeypatch, host.vms, "vm_incoming", {"name": "big", "state": name}, check)["changed"]
        for check in (True, False, True, False)
    ]
    assert changes == [True, True, False, False]


class Memserver:
    """One with two sessions of VM big and one of another."""

    def __init__(self):
        names = {"ab": "big", "cd": "big", "ef": "other"}
        self.sessions = [{"id": number * 16, "name": name} for number, name in names.items()]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def stat(self):
        return {"sessions": self.sessions}

    def close_session(self, session_id):
        self.sessions = [session for session in self.sessions if session["id"] != session_id]


def test_memserver_session_four_ways(host, monkeypatch):
    memserver = Memserver()
    monkeypatch.setattr(memserver_session, "MemserverClient", lambda: memserver)
    results = [
        run_module(monkeypatch, host.vms, "memserver_session", {"vm": "big", "keep": ["cd" * 16]}, check)
        for check in (True, False, True, False)
    ]
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0] == results[1]
    assert results[1]["diff"] == {"before": {"sessions": ["ab" * 16, "cd" * 16]}, "after": {"sessions": ["cd" * 16]}}
    assert [session["id"] for session in memserver.sessions] == ["cd" * 16, "ef" * 16]


def planned(**args):
    hosts = cluster()
    put(hosts, "big", "host-1", GIB, ["host-2", "host-3"])
    return {"kvm_hosts": HOSTS, "memservers": HOSTS, "hosts": hosts, **args}


LOOKING = {
    "evacuation_plan": lambda: planned(host="host-1"),
    "host_info": lambda: {"address": "127.0.0.1"},
    "layout": lambda: planned(vm="big", destination_host="host-4", sub_hosts=["host-2", "host-3"], main_memory="1GiB"),
    "memserver_info": dict,
    "relocation_progress": lambda: {"name": "big"},
    "vm_info": dict,
}


@pytest.mark.parametrize("name", sorted(LOOKING))
def test_what_only_looks_changes_nothing(host, monkeypatch, name):
    Guest(host, SPLIT)
    monkeypatch.setattr(host_module, "memserver", lambda: {"running": False, "reason": "none answers"})
    results = [run_module(monkeypatch, host.vms, name, LOOKING[name](), check) for check in (True, False)]
    assert [result["changed"] for result in results] == [False, False]
    assert set(results[0]) == set(results[1]) > {"changed"}


def test_every_module_is_run_here():
    assert sorted([begin.__name__ for begin in CHANGING] + ["memserver_session", *LOOKING]) == NAMES


@pytest.mark.parametrize("name", [begin.__name__ for begin in CHANGING if begin in (split_migrate, rebalance)])
def test_a_timeout_has_the_last_look(host, monkeypatch, name):
    args = {**globals()[name](host), "timeout": 0}
    qemu = host.running["smemv-vm-big.service"]
    qemu.answers["migrate"] = lambda _: qemu.answers.update({"query-migrate": {"status": "active"}}) or {}
    rebalancing = {**SPLIT, "rebalancing": True, "rebalance-remaining": 5}
    rebalancing["sub-hosts"] = [{**SPLIT["sub-hosts"][0], "name": "host-4"}]
    qemu.answers["smemv-rebalance"] = lambda _: qemu.answers.update({"query-smemv": rebalancing}) or {}
    result = run_module(monkeypatch, host.vms, name, args)
    assert result["failed"]
    assert result["last"]


@pytest.mark.parametrize("name", NAMES)
def test_check_and_diff_mode_are_for_every_module(name):
    text = (MODULES / f"{name}.py").read_text(encoding="utf-8")
    documentation = yaml.safe_load(text.partition('DOCUMENTATION = r"""')[2].partition('"""')[0])
    if "smemv.kvm.attributes.info" in documentation["extends_documentation_fragment"]:
        assert "diff" not in returned(name)
        return
    support = {key: documentation["attributes"][key]["support"] for key in ("check_mode", "diff_mode", "idempotent")}
    assert support == dict.fromkeys(support, "full")
    assert returned(name)["diff"]["returned"] == "always"
