# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils import vm_limit
from ansible_collections.smemv.kvm.plugins.module_utils.errors import ConfigError, HostError
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import GIB, MIB
from ansible_collections.smemv.kvm.plugins.module_utils.vm_declare import declare
from fake_qmp import Refusal

INFO = {"memory": {"total": 8 * GIB, "available": GIB}, "maintenance": None}


def memory(limit=GIB, share=GIB + 64 * MIB, **more):
    """What query-smemv says of a VM of 2 GiB that is split."""
    sub_hosts = [{"name": "host-3", "share": share, "remote": 0, "leaving": False}]
    return {
        "state": "split", "total": 2 * GIB, "limit": limit, "resident": limit, "sub-hosts": sub_hosts,
        "rebalancing": False, "rebalance-remaining": 0, "replicas": 1, **more,
    }  # fmt: skip


def params(**more):
    return {"name": "big", "state": "running", "shutdown_timeout": 0, "main_memory": "1536MiB", **more}


def test_the_limit_is_set_once(host):
    host.vms.define("big", host.config())
    qemu = host.run("big", query_smemv=memory(), smemv_set_limit={})
    wanted = params(bandwidth="8MiB")
    foretold = declare(host.vms, wanted, True)
    assert "smemv-set-limit" not in dict(qemu.calls)
    assert declare(host.vms, wanted, False) == foretold
    assert (foretold["actions"], foretold["changed"]) == (["limit"], True)
    assert [foretold["diff"][when]["main_memory"] for when in ("before", "after")] == [GIB, 1536 * MIB]
    assert dict(qemu.calls)["smemv-set-limit"] == {"limit": 1536 * MIB, "max-bandwidth": 8 * MIB}

    qemu.answers["query-smemv"] = memory(limit=1536 * MIB)
    for check in (True, False):
        again = declare(host.vms, wanted, check)
        assert (again["actions"], again["changed"]) == ([], False)
        assert again["diff"]["before"] == again["diff"]["after"]


def test_a_refusal_of_qemu_is_passed_on(host):
    host.vms.define("big", host.config())
    host.run("big", query_smemv=memory(), smemv_set_limit=Refusal("GenericError", "a migration is under way"))
    with pytest.raises(HostError, match="the limit of VM big cannot be changed: a migration is under way"):
        declare(host.vms, params(), False)


@pytest.mark.parametrize("state", ["stopped", "absent"])
def test_only_a_vm_that_runs_has_a_limit(host, state):
    with pytest.raises(ConfigError, match=f"main_memory is for a VM that runs, and state is {state}"):
        declare(host.vms, params(state=state), True)


@pytest.mark.parametrize(
    ("limit", "has", "info", "reason"),
    [
        (GIB // 2, memory(), INFO, "reserved 1088MiB, and with main_memory 512MiB they would need 1568MiB"),
        (GIB // 2, memory(share=2 * GIB, replicas=2), INFO, "reserved 2048MiB, .* they would need 3136MiB"),
        (3 * GIB, memory(), INFO, "holds all of VM big"),
        (MIB, memory(), INFO, "is less than the"),
        (1536 * MIB, memory(), {**INFO, "memory": {"available": MIB}}, "this host has 1MiB of memory free"),
        (1536 * MIB, memory(state="whole", limit=0), INFO, "is for a VM that is split"),
        (1536 * MIB, None, INFO, "is for a VM that is split"),
        (1536 * MIB, memory(rebalancing=True), INFO, "still being rebalanced"),
    ],
)
def test_refused(limit, has, info, reason):
    machine = {"name": "big", "config": {"vcpus": 1}}
    machine["memory"] = has and {key.replace("-", "_"): value for key, value in has.items()}
    with pytest.raises(HostError, match=reason):
        vm_limit.refuse(machine, limit, info)
