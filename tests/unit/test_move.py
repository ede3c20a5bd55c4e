# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import threading

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils import stall, tls
from ansible_collections.smemv.kvm.plugins.module_utils.errors import HostError, RelocationFailed, RelocationTimeout
from ansible_collections.smemv.kvm.plugins.module_utils.move import move
from fake_qmp import Refusal

TARGET = {
    "destination_host": "host-2",
    "destination_address": "198.18.0.2",
    "destination_port": 4780,
    "main_memory": 1 << 30,
    "sub_hosts": [{"name": "host-3", "address": "198.18.0.3", "port": 4770, "share": 1 << 30}],
    "policy": "threshold",
    "bandwidth": 0,
    "max_downtime": 300,
    "on_stall": "wait",
    "tls": False,
}
RECORDED = dict(TARGET, operation="split_migrate")
WHOLE = {"state": "whole", "limit": 0, "sub-hosts": [], "total": 2 << 30}
LEFT = {
    "state": "whole",
    "limit": 0,
    "sub-hosts": [{"name": "host-3", "share": 1 << 30, "remote": 5, "sent": 10}],
}
DONE = {"status": "completed", "total-time": 2600, "downtime": 35, "ram": {"transferred": 1234}}


def source(host, statuses, run_states, memory=WHOLE, **answers):
    """The VM's QEMU on the host that it leaves: status and run state at each look."""
    host.vms.define("big", host.config())
    commands = (
        "migrate-set-capabilities",
        "migrate-set-parameters",
        "smemv-set-target",
        "smemv-clear-target",
        "migrate",
    )
    return host.run(
        "big",
        **dict.fromkeys(commands, {}),
        query_status=[{"status": state} for state in run_states],
        query_migrate=statuses,
        query_smemv=memory,
        **answers,
    )


@pytest.mark.parametrize(
    ("operation", "asked", "memory"),
    [
        ("split_migrate", {"seal": True}, WHOLE),
        ("remigrate", {}, dict(LEFT, state="split", limit=1 << 30, sealed=True)),
    ],
)
def test_the_key_of_sealed_pages_does_not_travel_in_the_clear(host, operation, asked, memory):
    qemu = source(host, [{}], ["running"], memory)
    with pytest.raises(HostError, match="is in the clear without TLS"):
        move(host.vms, operation, "big", dict(TARGET, **asked), (5, 0.01), False, print)
    assert "migrate" not in dict(qemu.calls)


def test_the_policy_and_the_time_of_its_sampling_are_told(host):
    qemu = source(host, [{}, DONE], ["running", "postmigrate"])
    move(host.vms, "split_migrate", "big", dict(TARGET, policy="hot", sample_time=5), (5, 0.01), False, print)
    told = dict(qemu.calls)["smemv-set-target"]
    assert (told["policy"], told["sample-time"]) == ("hot", 5000)


def test_pages_are_sealed_where_that_is_asked_for(host, tmp_path, monkeypatch):
    monkeypatch.setattr(tls, "FOLDER", str(tmp_path))
    (tmp_path / "client-cert.pem").touch()
    qemu = source(host, [{}, DONE], ["running", "postmigrate"], LEFT, qom_list=[[]], object_add={})
    move(host.vms, "split_migrate", "big", dict(TARGET, tls=True, seal=True), (5, 0.01), False, print)
    assert dict(qemu.calls)["smemv-set-target"]["seal"] is True


@pytest.mark.parametrize("replicas", [1, 2])
def test_failure_domains_are_told_where_pages_have_two_copies(host, replicas):
    qemu = source(host, [{}, DONE], ["running", "postmigrate"], LEFT)
    target = dict(TARGET, sub_hosts=[dict(TARGET["sub_hosts"][0], failure_domain="rack-1")], replicas=replicas)
    move(host.vms, "split_migrate", "big", target, (5, 0.01), False, print)
    told = dict(qemu.calls)["smemv-set-target"]
    domain = told["sub-hosts"][0].get("failure-domain")
    # An earlier QEMU does not know either.
    assert (told.get("replicas"), domain) == ((2, "rack-1") if replicas == 2 else (None, None))


@pytest.mark.parametrize("connections", [1, 4])
def test_connections_are_told_where_there_are_several(host, connections):
    qemu = source(host, [{}, DONE], ["running", "postmigrate"], LEFT)
    move(host.vms, "split_migrate", "big", dict(TARGET, connections=connections), (5, 0.01), False, print)
    # An earlier QEMU does not know them.
    assert dict(qemu.calls)["smemv-set-target"].get("connections") == (4 if connections == 4 else None)


def test_a_split_migration_from_its_beginning(host):
    qemu = source(host, [{}, {"status": "active"}, DONE], ["running", "running", "postmigrate"], LEFT)
    result = move(host.vms, "split_migrate", "big", TARGET, (5, 0.01), False, print)
    assert (result["changed"], result["actions"]) == (True, ["migrate"])
    assert (result["status"], result["duration"], result["downtime_ms"]) == ("completed", 2.6, 35)
    assert (result["transferred"], result["sub_hosts"][0]["sent"]) == (1234, 10)
    asked = dict(qemu.calls)
    capabilities = [{"capability": "return-path", "state": True}, {"capability": "auto-converge", "state": False}]
    assert asked["migrate-set-capabilities"] == {"capabilities": capabilities}
    assert asked["smemv-set-target"] == {
        "name": "big",
        "main-limit": 1 << 30,
        "sub-hosts": [{"name": "host-3", "host": "198.18.0.3", "port": 4770, "share": 1 << 30}],
        "policy": "threshold",
    }
    assert asked["migrate"] == {"uri": "tcp:198.18.0.2:4780"}
    assert host.vms.describe("big")["relocation"] == RECORDED


def test_in_check_mode_nothing_is_asked_of_qemu_but_how_it_is(host):
    qemu = source(host, [{}], ["running"])
    result = move(host.vms, "split_migrate", "big", dict(TARGET, destination_port=None), (5, 0.01), True, print)
    assert (result["changed"], result["actions"]) == (True, ["migrate"])
    assert set(qemu.commands()) == {"query-status", "query-migrate", "query-smemv"}
    assert host.vms.describe("big")["relocation"] is None
    before = {"main_host": os.uname().nodename, "main_memory": None, "sub_hosts": {}}
    after = {"main_host": "host-2", "main_memory": 1 << 30, "sub_hosts": {"host-3": 1 << 30}}
    assert result["diff"] == {"before": before, "after": after}


def test_what_is_under_way_is_attached_to(host):
    statuses = [{"status": "active"}, {"status": "active"}, DONE]
    qemu = source(host, statuses, ["running", "running", "postmigrate"], LEFT)
    host.vms.record_relocation("big", TARGET)
    result = move(host.vms, "split_migrate", "big", TARGET, (5, 0.01), False, print)
    assert (result["changed"], result["actions"]) == (True, ["attach"])
    assert "migrate" not in qemu.commands()


def test_what_is_done_changes_nothing(host):
    qemu = source(host, [DONE], ["postmigrate"], LEFT)
    host.vms.record_relocation("big", TARGET)
    for check in (True, False):
        result = move(host.vms, "split_migrate", "big", TARGET, (5, 0.01), check, print)
        assert (result["changed"], result["actions"]) == (False, [])
    assert "migrate" not in qemu.commands()


@pytest.mark.parametrize("recorded", [None, dict(TARGET, destination_host="host-9")])
def test_another_migration_is_left_alone(host, recorded):
    source(host, [{"status": "active"}], ["running"])
    if recorded:
        host.vms.record_relocation("big", recorded)
    with pytest.raises(HostError, match="is moving already"):
        move(host.vms, "split_migrate", "big", TARGET, (5, 0.01), False, print)
    assert host.vms.describe("big")["relocation"] == recorded


def test_a_failure_gives_qemus_reason(host):
    failed = {"status": "failed", "error-desc": "memserver on host-3: closed the connection"}
    source(host, [{}, failed], ["running"])
    with pytest.raises(RelocationFailed, match="VM big failed: memserver on host-3: closed the connection"):
        move(host.vms, "split_migrate", "big", TARGET, (5, 0.01), False, print)
    assert host.vms.describe("big")["relocation"] is None


def test_a_target_that_qemu_refuses(host):
    qemu = source(host, [{}], ["running"])
    qemu.answers["smemv-set-target"] = Refusal("GenericError", "device vfio0 cannot be paged")
    with pytest.raises(HostError, match="VM big cannot be moved: device vfio0 cannot be paged"):
        move(host.vms, "split_migrate", "big", TARGET, (5, 0.01), False, print)
    assert "migrate" not in qemu.commands()
    assert host.vms.describe("big")["relocation"] is None


def test_a_migration_that_qemu_refuses_leaves_no_target(host):
    qemu = source(host, [{}], ["running"])
    qemu.answers["migrate"] = Refusal("GenericError", "blocked")
    with pytest.raises(HostError, match="cannot be moved: blocked"):
        move(host.vms, "split_migrate", "big", TARGET, (5, 0.01), False, print)
    assert qemu.commands()[-1] == "smemv-clear-target"


def test_not_waiting(host):
    source(host, [{}, {"status": "setup"}], ["running"])
    result = move(host.vms, "split_migrate", "big", TARGET, None, False, print)
    assert (result["changed"], result["status"]) == (True, "setup")
    assert "duration" not in result


def test_a_timeout_has_the_last_look_and_keeps_the_note(host):
    source(host, [{}, {"status": "active"}], ["running"])
    with pytest.raises(RelocationTimeout, match="is still active after 0 s; it goes on") as error:
        move(host.vms, "split_migrate", "big", TARGET, (0, 0.01), False, print)
    assert error.value.last["migration"]["status"] == "active"
    assert host.vms.describe("big")["relocation"] == RECORDED


SPLIT = {
    "state": "split",
    "total": 2 << 30,
    "limit": 1 << 30,
    "sub-hosts": [{"name": "host-3", "share": 1 << 30, "remote": 5, "sent": 10}],
}
ONE_HOST = dict(TARGET, main_memory=None, sub_hosts=[])
del ONE_HOST["policy"]


def test_a_split_vm_keeps_sub_hosts_and_gets_new_ones(host):
    qemu = source(host, [{}, DONE], ["running", "postmigrate"], SPLIT)
    more = dict(TARGET, sub_hosts=[*TARGET["sub_hosts"], dict(TARGET["sub_hosts"][0], name="host-4")])
    result = move(host.vms, "remigrate", "big", more, (5, 0.01), False, print)
    assert result["diff"]["before"]["sub_hosts"] == {"host-3": 1 << 30}
    assert result["diff"]["after"]["sub_hosts"] == {"host-3": 1 << 30, "host-4": 1 << 30}
    assert [sub_host["name"] for sub_host in dict(qemu.calls)["smemv-set-target"]["sub-hosts"]] == ["host-3", "host-4"]


def test_a_split_vm_goes_to_one_host(host):
    qemu = source(host, [{}, DONE], ["running", "postmigrate"], SPLIT)
    move(host.vms, "consolidate", "big", ONE_HOST, (5, 0.01), False, print)
    assert dict(qemu.calls)["smemv-set-target"] == {"name": "big", "main-limit": 2 << 30, "sub-hosts": []}


def test_a_whole_vm_goes_to_one_host_by_an_ordinary_migration(host):
    qemu = source(host, [{}, DONE], ["running", "postmigrate"], WHOLE)
    move(host.vms, "consolidate", "big", ONE_HOST, (5, 0.01), False, print)
    assert qemu.commands().count("migrate") == 1
    assert "smemv-set-target" not in qemu.commands()


@pytest.mark.parametrize(("operation", "memory"), [("split_migrate", SPLIT), ("remigrate", WHOLE)])
def test_each_operation_is_for_its_own_state(host, operation, memory):
    qemu = source(host, [{}], ["running"], memory)
    with pytest.raises(HostError, match="is for that"):
        move(host.vms, operation, "big", TARGET, (5, 0.01), True, print)
    assert "migrate" not in qemu.commands()


def test_of_two_at_once_only_one_begins(host):
    under_way = threading.Event()
    qemu = source(host, None, ["running"], WHOLE)
    qemu.answers["query-migrate"] = lambda _: {"status": "active"} if under_way.is_set() else {}
    qemu.answers["migrate"] = lambda _: under_way.set() or {}
    outcomes = []

    def begin(destination):
        try:
            move(host.vms, "split_migrate", "big", dict(TARGET, destination_host=destination), None, False, print)
            outcomes.append("begun")
        except HostError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=begin, args=(f"host-{number}",)) for number in range(2, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert qemu.commands().count("migrate") == 1
    assert sorted(outcomes) == ["VM big is moving already, elsewhere or by other means"] * 5 + ["begun"]


def test_a_vm_that_does_not_run(host):
    with pytest.raises(HostError, match="there is no VM big here"):
        move(host.vms, "consolidate", "big", ONE_HOST, None, False, print)
    host.vms.define("big", host.config())
    with pytest.raises(HostError, match="VM big does not run here"):
        move(host.vms, "consolidate", "big", ONE_HOST, None, False, print)


STUCK = {"status": "active", "ram": {"transferred": 5}}


@pytest.fixture
def impatient(monkeypatch):
    """A migration stalls as soon as a look finds nothing sent."""
    monkeypatch.setattr(stall, "SECONDS", 0)


def test_throttling_is_qemus_own(host):
    qemu = source(host, [{}, DONE], ["running", "postmigrate"], LEFT)
    move(host.vms, "split_migrate", "big", dict(TARGET, on_stall="throttle"), (5, 0.01), False, print)
    (asked,) = dict(qemu.calls)["migrate-set-capabilities"].values()
    assert {"capability": "auto-converge", "state": True} in asked


@pytest.mark.parametrize("on_stall", ["wait", "throttle"])
def test_a_stall_is_said_once_and_waited_out(host, impatient, on_stall):
    source(host, [{}, *[STUCK] * 6, DONE], [*["running"] * 7, "postmigrate"], LEFT)
    said = []
    result = move(host.vms, "split_migrate", "big", dict(TARGET, on_stall=on_stall), (5, 0.01), False, said.append)
    assert result["status"] == "completed"
    assert said == ["the migration of VM big stalls: for 0 s nothing has been sent"]


def test_a_stall_may_end_it(host, impatient):
    cancelled = {"status": "cancelled"}
    qemu = source(host, [{}, STUCK, STUCK, STUCK, cancelled], ["running"], WHOLE)
    qemu.answers["migrate_cancel"] = {}
    with pytest.raises(RelocationFailed, match="VM big stalls: for 0 s nothing has been sent; it was cancelled"):
        move(host.vms, "split_migrate", "big", dict(TARGET, on_stall="fail"), (5, 0.01), False, pytest.fail)
    assert qemu.commands().count("migrate_cancel") == 1
    assert host.vms.describe("big")["relocation"] is None


def test_a_stall_that_ends_just_then_is_none(host, impatient):
    qemu = source(host, [{}, STUCK, STUCK, DONE], [*["running"] * 3, "postmigrate"], LEFT)
    result = move(host.vms, "split_migrate", "big", dict(TARGET, on_stall="fail"), (5, 0.01), False, pytest.fail)
    assert result["status"] == "completed"
    assert "migrate_cancel" not in qemu.commands()
