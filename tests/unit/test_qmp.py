# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpCommandError, QmpError, QmpTimeout
from ansible_collections.smemv.kvm.plugins.module_utils.qmp import QmpClient, snake_case
from fake_qmp import Refusal


def test_commands_are_answered_one_after_another(qemu):
    qemu.answers.update({"query-status": {"status": "running"}, "smemv-set-limit": {}})
    with QmpClient(qemu.path) as client:
        assert client.greeting["version"]["package"] == "test"
        assert client.execute("query-status") == {"status": "running"}
        client.execute("smemv-set-limit", new_limit=4096)
    assert qemu.calls == [("qmp_capabilities", {}), ("query-status", {}), ("smemv-set-limit", {"new-limit": 4096})]


def test_a_refusal_has_its_class_and_words(qemu):
    qemu.answers["cont"] = Refusal("GenericError", "it is fenced")
    with (
        QmpClient(qemu.path) as client,
        pytest.raises(QmpCommandError, match="QEMU refused cont: it is fenced") as error,
    ):
        client.execute("cont")
    assert error.value.error_class == "GenericError"
    assert error.value.description == "it is fenced"


def test_events_between_are_kept(qemu):
    qemu.answers["query-status"] = {"status": "running"}
    with QmpClient(qemu.path) as client:
        qemu.events = [{"event": "STOP"}, {"event": "RESUME"}]
        client.execute("query-status")
        assert client.wait_event("RESUME", 1)["event"] == "RESUME"
        assert [event["event"] for event in client.events] == ["STOP"]
        with pytest.raises(QmpTimeout):
            client.wait_event("SHUTDOWN", 0.05)


def test_no_qemu(tmp_path):
    with pytest.raises(QmpError, match="no QEMU answers on"), QmpClient(str(tmp_path / "none.sock")):
        pass


def test_a_qemu_that_does_not_answer(qemu):
    qemu.answers["query-status"] = b""
    with QmpClient(qemu.path, timeout=0.1) as client, pytest.raises(QmpTimeout, match="does not answer"):
        client.execute("query-status")


def test_a_qemu_that_does_not_greet(qemu):
    qemu.greeting = b""
    with pytest.raises(QmpTimeout), QmpClient(qemu.path, timeout=0.1):
        pass


def test_a_qemu_that_goes_away(qemu):
    qemu.answers["quit"] = None
    with QmpClient(qemu.path) as client, pytest.raises(QmpError, match="closed the connection"):
        client.execute("quit")


@pytest.mark.parametrize("nonsense", [b"hello\n", b"[]\n", b"\xff\n", b'{"hello": 1}\n'])
def test_what_is_not_qmp(qemu, nonsense):
    qemu.greeting = nonsense
    with pytest.raises(QmpError, match="not JSON|not QMP|not QEMU"), QmpClient(qemu.path):
        pass
    qemu.greeting = b'{"QMP": {}}\n'
    qemu.answers["query-status"] = nonsense
    with QmpClient(qemu.path) as client, pytest.raises(QmpError, match="not JSON|not QMP|neither"):
        client.execute("query-status")


def test_keys_are_in_snake_case_at_every_depth():
    answer = {"main-limit": 1, "sub-hosts": [{"a-b": {"c-d": "e-f"}}]}
    assert snake_case(answer) == {"main_limit": 1, "sub_hosts": [{"a_b": {"c_d": "e-f"}}]}
