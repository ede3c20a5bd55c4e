# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import HostError, RelocationFailed, RelocationTimeout
from ansible_collections.smemv.kvm.plugins.module_utils.rebalance import rebalance
from ansible_collections.smemv.kvm.plugins.module_utils.waiting import Waiter
from fake_qmp import Refusal

TOTAL, LIMIT, SHARE = 2 << 30, 1 << 30, 1 << 29
TARGET = {
    "main_memory": LIMIT,
    "sub_hosts": [{"name": "host-4", "address": "198.18.0.4", "port": 4770, "share": SHARE}],
    "bandwidth": 0,
}
ALL = {"main_memory": None, "sub_hosts": [], "bandwidth": 0}


def sub_host(name, leaving=False):
    return {"name": name, "share": SHARE, "remote": 0, "leaving": leaving}


def memory(*sub_hosts, limit=LIMIT, left=None, **more):
    """What query-smemv says: rebalancing where something is ``left``."""
    return {
        "state": "split" if sub_hosts else "whole",
        "total": TOTAL,
        "limit": limit if sub_hosts else 0,
        "sub-hosts": list(sub_hosts),
        "rebalancing": left is not None,
        "rebalance-remaining": left or 0,
        **more,
    }


BEFORE = memory(sub_host("host-3"))
AIMED = memory(sub_host("host-3", leaving=True), sub_host("host-4"), left=SHARE)
AFTER = memory(sub_host("host-4"))
PULLED_IN = memory()


def run(host, looks, target=TARGET, waiting=(60, 1), check=False, clock=None, **answers):
    """A VM whose QEMU is seen so, look after look: (what rebalances it, its QEMU)."""
    host.vms.define("big", host.config())
    qemu = host.run("big", query_smemv=looks, **{"smemv_rebalance": {}, **answers})
    waiter = Waiter("big", clock.sleep, clock) if clock else None
    return lambda: rebalance(host.vms, "big", target, waiting, check, waiter), qemu


def test_a_sub_host_is_emptied_into_another(host, clock):
    ask, qemu = run(host, [BEFORE, AIMED, AIMED, AFTER], clock=clock)
    result = ask()
    assert (result["changed"], result["actions"]) == (True, ["rebalance"])
    assert result["diff"] == {
        "before": {"main_memory": LIMIT, "sub_hosts": {"host-3": SHARE}},
        "after": {"main_memory": LIMIT, "sub_hosts": {"host-4": SHARE}},
    }
    assert [host["name"] for host in result["memory"]["sub_hosts"]] == ["host-4"]
    assert dict(qemu.calls)["smemv-rebalance"] == {
        "main-limit": LIMIT,
        "sub-hosts": [{"name": "host-4", "host": "198.18.0.4", "port": 4770, "share": SHARE}],
    }
    assert clock.now == 2


def test_everything_is_pulled_in(host, clock):
    pulling = memory(sub_host("host-3", leaving=True), limit=TOTAL, left=SHARE)
    ask, qemu = run(host, [BEFORE, pulling, PULLED_IN], dict(ALL, bandwidth=1 << 20), clock=clock)
    assert ask()["memory"]["state"] == "whole"
    assert dict(qemu.calls)["smemv-rebalance"] == {"main-limit": TOTAL, "sub-hosts": [], "max-bandwidth": 1 << 20}


@pytest.mark.parametrize(
    ("looks", "target", "actions"),
    [
        ([AIMED, AFTER], TARGET, ["attach"]),
        ([AFTER], TARGET, []),
        ([memory(sub_host("host-3", leaving=True), limit=TOTAL, left=1), PULLED_IN], ALL, ["attach"]),
        ([PULLED_IN], ALL, []),
    ],
)
def test_what_is_under_way_or_done_is_not_begun_again(host, looks, target, actions):
    ask, qemu = run(host, looks, target, waiting=(5, 0.01))
    result = ask()
    assert (result["changed"], result["actions"]) == (bool(actions), actions)
    assert set(qemu.commands()) == {"query-smemv"}


@pytest.mark.parametrize(("looks", "changed"), [([BEFORE], True), ([AIMED], True), ([AFTER], False)])
def test_check_mode_only_looks(host, looks, changed):
    ask, qemu = run(host, looks, check=True)
    assert ask()["changed"] is changed
    assert qemu.commands() == ["query-smemv"]


def test_a_limit_that_follows_its_reservations_is_waited_for(host):
    lower = dict(TARGET, main_memory=LIMIT // 2)
    ask, _qemu = run(host, [BEFORE, AIMED, memory(sub_host("host-4"), limit=LIMIT // 2)], lower, waiting=(5, 0.01))
    assert ask()["memory"]["limit"] == LIMIT // 2


def test_what_was_pulled_in_is_whole_only_when_qemu_says_so(host):
    pulled = dict(memory(limit=TOTAL), state="split", limit=TOTAL)
    ask, qemu = run(host, [pulled, pulled, PULLED_IN], ALL, waiting=(5, 0.01))
    assert ask()["memory"]["state"] == "whole"
    assert "smemv-rebalance" not in qemu.commands()


def kept(share):
    return dict(TARGET, sub_hosts=[dict(TARGET["sub_hosts"][0], share=share)])


@pytest.mark.parametrize(("share", "changed"), [(None, False), (SHARE, False), (SHARE + 4096, True)])
def test_a_share_may_stay_what_it_is(host, share, changed):
    ask, _qemu = run(host, [AFTER], kept(share), check=True)
    assert ask()["changed"] is changed


def test_reservations_of_the_moment_are_no_shares(host):
    ask, qemu = run(host, [memory(sub_host("host-4"), left=0), AFTER], kept(SHARE + 4096), waiting=(5, 0.01))
    assert ask()["actions"] == ["attach"]
    assert "smemv-rebalance" not in qemu.commands()


def test_a_new_sub_host_wants_a_share(host):
    ask, qemu = run(host, [BEFORE], kept(None))
    with pytest.raises(HostError, match="a share is wanted for host-4"):
        ask()
    assert "smemv-rebalance" not in qemu.commands()


def test_without_waiting_it_says_how_it_is(host):
    ask, _qemu = run(host, [BEFORE, AIMED], waiting=None)
    assert ask()["memory"]["rebalance_remaining"] == SHARE


def test_what_qemu_refuses(host):
    ask, _qemu = run(host, [BEFORE], smemv_rebalance=Refusal("GenericError", "host-4 has no room"))
    with pytest.raises(HostError, match="VM big cannot be rebalanced: host-4 has no room"):
        ask()


def test_a_whole_vm_is_not_split_in_place(host):
    ask, qemu = run(host, [PULLED_IN])
    with pytest.raises(HostError, match="VM big is whole: only a split migration"):
        ask()
    assert "smemv-rebalance" not in qemu.commands()


def test_a_qemu_that_knows_no_split_vms(host):
    ask, _qemu = run(host, Refusal("CommandNotFound", "no"))
    with pytest.raises(HostError, match="by a QEMU without split migration"):
        ask()


def test_a_timeout_says_what_is_left_and_why(host, clock):
    stuck = dict(AIMED, **{"rebalance-error": "host-4: it does not answer"})
    ask, _qemu = run(host, [BEFORE, stuck], waiting=(10, 2), clock=clock)
    with pytest.raises(RelocationTimeout, match=r"after 10 s: 512MiB are left, for host-4: it does not answer") as late:
        ask()
    assert late.value.last["rebalancing"]
    assert clock.now == 10


@pytest.mark.parametrize("other", [memory(sub_host("host-9"), left=1), memory(sub_host("host-4"), limit=LIMIT // 2)])
def test_another_aim_meanwhile_ends_the_wait(host, other):
    ask, _qemu = run(host, [BEFORE, AIMED, other], waiting=(5, 0.01))
    with pytest.raises(RelocationFailed, match="was given another aim meanwhile"):
        ask()


def test_a_qemu_that_ends_meanwhile(host):
    ask, qemu = run(host, [BEFORE, AIMED, None], waiting=(5, 0.01))
    with pytest.raises(RelocationFailed, match="the QEMU of VM big ended"):
        ask()
    assert qemu.commands().count("smemv-rebalance") == 1
