# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import RelocationFailed, RelocationTimeout
from ansible_collections.smemv.kvm.plugins.module_utils.qmp import QmpClient
from ansible_collections.smemv.kvm.plugins.module_utils.relocation import (
    UNDER_WAY,
    Relocation,
    figures,
    progress,
    same_target,
)
from ansible_collections.smemv.kvm.plugins.module_utils.waiting import Waiter

TARGET = {"destination_host": "host-2", "main_memory": 1 << 30, "sub_hosts": [{"name": "host-3", "share": 1 << 30}]}
WHOLE = {"state": "whole", "limit": 0, "sub-hosts": [], "rebalancing": False}
LEFT_OVER = dict(WHOLE, rebalancing=True)
DONE = {"status": "completed", "total-time": 2600, "downtime": 35, "ram": {"transferred": 1234}}


def relocation(fake, clock):
    return Relocation(lambda: QmpClient(fake.path, 0.5), "big", Waiter("big", clock.sleep, clock))


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
        ("postmigrate", "failed", "fenced"),
        ("postmigrate", "cancelled", "fenced"),
        ("finish-migrate", "device", "under_way"),
        ("finish-migrate", "failed", "under_way"),
        ("finish-migrate", "cancelling", "under_way"),
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


def test_waiting_looks_as_often_as_asked(qemu, clock):
    looks = [{"status": "active"}] * 5 + [DONE]
    qemu.answers.update({"query-migrate": looks, "query-smemv": WHOLE})
    qemu.answers["query-status"] = [{"status": "running"}] * 5 + [{"status": "postmigrate"}]
    last = relocation(qemu, clock).wait(60, 2, pytest.fail)
    assert clock.now == 10
    assert figures(last)["downtime_ms"] == 35


def test_a_qemu_that_ends_has_failed(qemu, clock):
    qemu.answers["query-status"] = None
    with pytest.raises(RelocationFailed, match="the QEMU of VM big ended during its relocation"):
        relocation(qemu, clock).wait(60, 2, pytest.fail)


def test_a_qemu_that_is_busy_has_not(qemu, clock):
    qemu.answers.update({"query-migrate": DONE, "query-smemv": WHOLE})
    qemu.answers["query-status"] = [b"", {"status": "postmigrate"}]
    assert relocation(qemu, clock).wait(60, 2, pytest.fail)["progress"] == "completed"


def test_cancel_waits_until_the_vm_runs_on(qemu, clock):
    looks = [{"status": "active"}, {"status": "cancelling"}, {"status": "cancelled"}]
    commands = {"migrate_cancel": {}, "smemv-clear-target": {}, "query-smemv": [WHOLE] * 4 + [LEFT_OVER, WHOLE]}
    qemu.answers.update({"query-status": {"status": "running"}, "query-migrate": looks, **commands})
    last = relocation(qemu, clock).cancel()
    assert (last["progress"], last["run_state"]) == ("cancelled", "running")
    assert qemu.commands().count("migrate_cancel") == 1
    assert "smemv-clear-target" in qemu.commands()
    assert not last["memory"]["rebalancing"]


def test_what_is_complete_is_not_cancelled(qemu, clock):
    qemu.answers.update({"query-status": {"status": "postmigrate"}, "query-migrate": DONE, "query-smemv": WHOLE})
    assert relocation(qemu, clock).cancel()["progress"] == "completed"
    assert "migrate_cancel" not in qemu.commands()
    assert "smemv-clear-target" not in qemu.commands()


def test_a_migration_that_cannot_be_cancelled(qemu, clock):
    looks = {"query-status": {"status": "running"}, "query-migrate": {"status": "cancelling"}, "query-smemv": WHOLE}
    qemu.answers.update({**looks, "migrate_cancel": {}})
    with pytest.raises(RelocationTimeout, match="cannot be cancelled$"):
        relocation(qemu, clock).cancel(timeout=1)


def test_a_vm_that_waits_for_the_memserver_that_decides(qemu, clock):
    sub_hosts = [{"name": "host-3", "connected": True}, {"name": "host-4", "connected": False}]
    looks = {"query-status": {"status": "finish-migrate"}, "query-migrate": {"status": "cancelling"}}
    qemu.answers.update({**looks, "query-smemv": {**WHOLE, "sub-hosts": sub_hosts}, "migrate_cancel": {}})
    with pytest.raises(RelocationTimeout, match="whether the VM runs at the destination; out of reach: host-4$"):
        relocation(qemu, clock).cancel(timeout=1)
    with pytest.raises(RelocationTimeout, match="whether the VM runs at the destination; out of reach: host-4; it"):
        relocation(qemu, clock).wait(1, 1, pytest.fail)
