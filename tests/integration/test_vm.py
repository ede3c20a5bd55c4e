# SPDX-License-Identifier: GPL-3.0-or-later
"""The module vm on a real host: each state four ways."""

from __future__ import annotations

import pytest

from tests.integration.conftest import clear


@pytest.fixture
def no_vm(cluster):
    """None is left afterwards."""
    yield
    clear(cluster)


@pytest.fixture(scope="module")
def nothing(cluster):
    """As no_vm, for tests that make none."""
    yield
    clear(cluster)


def ways(cluster, **args):
    """Check, run, check again, run again: what each returned."""
    modes = ["--check"], [], ["--check"], []
    return [cluster.module("host-1", "vm", *mode, **args)["host-1"] for mode in modes]


def test_four_ways_through_its_life(cluster, configuration, no_vm):
    quick = {"shutdown_timeout": 0}
    for state, active, actions in (
        ("stopped", "inactive", ["define"]),
        ("running", "active", ["start"]),
        ("stopped", "inactive", ["stop"]),
        ("running", "active", ["start"]),
        ("absent", "inactive", ["stop", "remove"]),
    ):
        answers = ways(cluster, **{**configuration, **quick, "state": state})
        assert [answer["changed"] for answer in answers] == [True, True, False, False], state
        assert answers[0]["actions"] == answers[1]["actions"] == actions
        assert cluster.try_ssh("host-1", "systemctl is-active smemv-vm-big").stdout.strip() == active


def test_a_running_vms_configuration_is_not_changed(cluster, vm):
    refused = cluster.module("host-1", "vm", **{**vm, "vcpus": 4})["host-1"]
    assert refused["msg"] == "VM big runs with another vcpus: stop it before its configuration is changed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory": "2G"}, "memory '2G' is not a size"),
        ({"kernel": "/nowhere/bzImage"}, "there is no /nowhere/bzImage"),
        ({"name": "../big"}, "is not a VM's name"),
        ({"extra_args": ["-device", "no-such-device"]}, "no-such-device"),
        ({"nics": [{"type": "bridge"}]}, "a NIC of type bridge wants bridge"),
        ({"state": "asleep"}, "value of state must be one of: running, stopped, absent"),
    ],
)
def test_bad_input_gives_one_clear_sentence(cluster, configuration, nothing, change, message):
    refused = cluster.module("host-1", "vm", **{**configuration, **change})["host-1"]
    assert message in refused["msg"]
    assert "\n" not in refused["msg"]
    assert cluster.try_ssh("host-1", "systemctl is-active smemv-vm-big").stdout.strip() != "active"
