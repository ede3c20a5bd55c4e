# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import HostError, RelocationFailed, RelocationTimeout
from ansible_collections.smemv.kvm.plugins.module_utils.qmp import QmpClient
from ansible_collections.smemv.kvm.plugins.module_utils.relocation import (
    UNDER_WAY,
    Relocation,
    figures,
    progress,
    same_target,
)
from ansible_collections.smemv.kvm.plugins.module_utils.split_migration import split_migrate
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
}
WHOLE = {"state": "whole", "limit": 0, "sub-hosts": []}
LEFT = {
    "state": "whole",
    "limit": 1 << 30,
    "sub-hosts": [{"name": "host-3", "share": 1 << 30, "remote": 5, "sent": 10}],
}
DONE = {"status": "completed", "total-time": 2600, "downtime": 35, "ram": {"transferred": 1234}}


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def relocation(fake, clock):
    return Relocation(lambda: QmpClient(fake.path, 0.5), "big", sleep=clock.sleep, clock=clock)


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


@pytest.mark.parametrize("status", sorted(UNDER_WAY))
def test_under_way(status):
    assert progress("running", status) == "under_way"


@pytest.mark.parametrize(
    ("run_state", "status", "answer"),
    [
        ("running", None, "none"),
        ("running", "none", "none"),
        ("running", "completed", "none"),
        ("running", "failed", "failed"),
        ("running", "cancelled", "cancelled"),
        ("postmigrate", "completed", "completed"),
        ("finish-migrate", "device", "under_way"),
        ("paused", "failed", "failed"),
    ],
)
def test_progress(run_state, status, answer):
    assert progress(run_state, status) == answer


def test_the_same_target_is_the_same_hosts_and_limit():
    other = dict(TARGET, destination_port=4781, bandwidth=5)
    assert same_target(TARGET, other)
    assert not same_target(TARGET, dict(TARGET, main_memory=1))
    assert not same_target(TARGET, dict(TARGET, destination_host="host-9"))
    assert not same_target(TARGET, dict(TARGET, sub_hosts=[]))


def test_a_split_migration_from_its_beginning(host):
    qemu = source(host, [{}, {}, {"status": "active"}, DONE], ["running", "running", "running", "postmigrate"], LEFT)
    result = split_migrate(host.vms, "big", TARGET, (5, 0.01), False)
    assert (result["changed"], result["actions"]) == (True, ["migrate"])
    assert (result["status"], result["duration"], result["downtime_ms"]) == ("completed", 2.6, 35)
    assert (result["transferred"], result["sub_hosts"][0]["sent"]) == (1234, 10)
    asked = dict(qemu.calls)
    assert asked["migrate-set-capabilities"] == {"capabilities": [{"capability": "return-path", "state": True}]}
    assert asked["smemv-set-target"] == {
        "name": "big",
        "main-limit": 1 << 30,
        "sub-hosts": [{"name": "host-3", "host": "198.18.0.3", "port": 4770, "share": 1 << 30}],
        "policy": "threshold",
    }
    assert asked["migrate"] == {"uri": "tcp:198.18.0.2:4780"}
    assert host.vms.describe("big")["relocation"] == TARGET


def test_in_check_mode_nothing_is_asked_of_qemu_but_how_it_is(host):
    qemu = source(host, [{}], ["running"])
    result = split_migrate(host.vms, "big", dict(TARGET, destination_port=None), (5, 0.01), True)
    assert (result["changed"], result["actions"]) == (True, ["migrate"])
    assert set(qemu.commands()) == {"query-status", "query-migrate", "query-smemv"}
    assert host.vms.describe("big")["relocation"] is None
    assert result["diff"]["before"] == {"main_memory": "all"}
    assert result["diff"]["after"] == {"main_memory": 1 << 30, "sub_hosts": {"host-3": 1 << 30}}


def test_what_is_under_way_is_attached_to(host):
    statuses = [{"status": "active"}, {"status": "active"}, {"status": "active"}, DONE]
    qemu = source(host, statuses, ["running", "running", "running", "postmigrate"], LEFT)
    host.vms.record_relocation("big", TARGET)
    result = split_migrate(host.vms, "big", TARGET, (5, 0.01), False)
    assert (result["changed"], result["actions"]) == (True, ["attach"])
    assert "migrate" not in qemu.commands()


def test_what_is_done_changes_nothing(host):
    qemu = source(host, [DONE], ["postmigrate"], LEFT)
    host.vms.record_relocation("big", TARGET)
    for check in (True, False):
        result = split_migrate(host.vms, "big", TARGET, (5, 0.01), check)
        assert (result["changed"], result["actions"]) == (False, [])
    assert "migrate" not in qemu.commands()


@pytest.mark.parametrize("recorded", [None, dict(TARGET, destination_host="host-9")])
def test_another_migration_is_left_alone(host, recorded):
    source(host, [{"status": "active"}], ["running"])
    if recorded:
        host.vms.record_relocation("big", recorded)
    with pytest.raises(HostError, match="is moving already"):
        split_migrate(host.vms, "big", TARGET, (5, 0.01), False)
    assert host.vms.describe("big")["relocation"] == recorded


def test_a_failure_gives_qemus_reason(host):
    failed = {"status": "failed", "error-desc": "memserver on host-3: closed the connection"}
    source(host, [{}, {}, failed], ["running"])
    with pytest.raises(RelocationFailed, match="VM big failed: memserver on host-3: closed the connection"):
        split_migrate(host.vms, "big", TARGET, (5, 0.01), False)
    assert host.vms.describe("big")["relocation"] is None


def test_a_target_that_qemu_refuses(host):
    qemu = source(host, [{}], ["running"])
    qemu.answers["smemv-set-target"] = Refusal("GenericError", "device vfio0 cannot be paged")
    with pytest.raises(HostError, match="VM big cannot be split: device vfio0 cannot be paged"):
        split_migrate(host.vms, "big", TARGET, (5, 0.01), False)
    assert "migrate" not in qemu.commands()
    assert host.vms.describe("big")["relocation"] is None


def test_a_migration_that_qemu_refuses_leaves_no_target(host):
    qemu = source(host, [{}], ["running"])
    qemu.answers["migrate"] = Refusal("GenericError", "blocked")
    with pytest.raises(HostError, match="cannot be split: blocked"):
        split_migrate(host.vms, "big", TARGET, (5, 0.01), False)
    assert qemu.commands()[-1] == "smemv-clear-target"


def test_not_waiting(host):
    source(host, [{}, {}, {"status": "setup"}], ["running"])
    result = split_migrate(host.vms, "big", TARGET, None, False)
    assert (result["changed"], result["status"]) == (True, "setup")
    assert "duration" not in result


def test_a_timeout_has_the_last_look_and_keeps_the_note(host):
    source(host, [{}, {}, {"status": "active"}], ["running"])
    with pytest.raises(RelocationTimeout, match="is still active after 0 s; it goes on") as error:
        split_migrate(host.vms, "big", TARGET, (0, 0.01), False)
    assert error.value.last["migration"]["status"] == "active"
    assert host.vms.describe("big")["relocation"] == TARGET


def test_waiting_looks_as_often_as_asked(qemu, clock):
    looks = [{"status": "active"}] * 5 + [DONE]
    qemu.answers.update({"query-migrate": looks, "query-smemv": WHOLE})
    qemu.answers["query-status"] = [{"status": "running"}] * 5 + [{"status": "postmigrate"}]
    last = relocation(qemu, clock).wait(60, 2)
    assert clock.now == 10
    assert figures(last)["downtime_ms"] == 35


def test_a_qemu_that_ends_has_failed(qemu, clock):
    qemu.answers["query-status"] = None
    with pytest.raises(RelocationFailed, match="the QEMU of VM big ended during its migration"):
        relocation(qemu, clock).wait(60, 2)


def test_a_qemu_that_is_busy_has_not(qemu, clock):
    qemu.answers.update({"query-migrate": DONE, "query-smemv": WHOLE})
    qemu.answers["query-status"] = [b"", {"status": "postmigrate"}]
    assert relocation(qemu, clock).wait(60, 2)["progress"] == "completed"


def test_cancel_waits_until_the_vm_runs_on(qemu, clock):
    looks = [{"status": "active"}, {"status": "cancelling"}, {"status": "cancelled"}]
    commands = {"migrate_cancel": {}, "smemv-clear-target": {}, "query-smemv": WHOLE}
    qemu.answers.update({"query-status": {"status": "running"}, "query-migrate": looks, **commands})
    last = relocation(qemu, clock).cancel()
    assert (last["progress"], last["run_state"]) == ("cancelled", "running")
    assert qemu.commands().count("migrate_cancel") == 1
    assert qemu.commands()[-1] == "smemv-clear-target"


def test_what_is_complete_is_not_cancelled(qemu, clock):
    qemu.answers.update({"query-status": {"status": "postmigrate"}, "query-migrate": DONE, "query-smemv": WHOLE})
    assert relocation(qemu, clock).cancel()["progress"] == "completed"
    assert "migrate_cancel" not in qemu.commands()
    assert "smemv-clear-target" not in qemu.commands()


def test_a_migration_that_cannot_be_cancelled(qemu, clock):
    looks = {"query-status": {"status": "running"}, "query-migrate": {"status": "cancelling"}, "query-smemv": WHOLE}
    qemu.answers.update({**looks, "migrate_cancel": {}})
    with pytest.raises(RelocationTimeout, match="cannot be cancelled"):
        relocation(qemu, clock).cancel(timeout=1)
