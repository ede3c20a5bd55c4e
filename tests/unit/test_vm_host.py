# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import HostError
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import write_file
from fake_qmp import Refusal


def test_no_vm(host):
    assert host.vms.describe("big") is None
    assert host.vms.names() == []


def test_a_vm_that_is_defined(host):
    config = host.config()
    host.vms.define("big", config)
    found = host.vms.describe("big")
    assert (found["state"], found["config"], found["adopted"]) == ("stopped", config, True)
    assert host.vms.names() == ["big"]
    assert host.vms.defined("big", config)
    assert not host.vms.defined("big", dict(config, vcpus=2))
    assert host.systemd.calls == [["daemon-reload"]]


def test_systemd_reads_a_unit_again_only_when_it_changed(host):
    host.vms.define("big", host.config())
    host.vms.define("big", host.config())
    assert host.systemd.calls == [["daemon-reload"]]
    host.vms.define("big", host.config(vcpus=2))
    assert host.systemd.calls == [["daemon-reload"]] * 2


@pytest.mark.parametrize(
    ("run_state", "state"),
    [("running", "running"), ("paused", "paused"), ("inmigrate", "incoming"), ("postmigrate", "moved")],
)
def test_a_vm_that_runs_says_so_itself(host, run_state, state):
    host.vms.define("big", host.config())
    host.run("big", query_status={"status": run_state}, query_smemv={"main-limit": 0})
    found = host.vms.describe("big")
    assert found["state"] == state
    assert found["memory"] == {"main_limit": 0}
    assert found["qemu"] == {"version": "10.0.2", "package": "test", "smemv": True}


def test_regions_are_told_where_they_are_asked_for(host):
    host.vms.define("big", host.config())
    parts = [{"size": 4096, "resident": 4096, "zero": 0, "remote": []}] * 2
    qemu = host.run("big", query_status={"status": "running"}, query_smemv={"main-limit": 0}, query_smemv_map=[parts])
    assert host.vms.describe("big", 2)["regions"] == parts
    assert dict(qemu.calls)["query-smemv-map"] == {"regions": 2}
    assert "regions" not in host.vms.describe("big")


def test_a_stock_qemu_has_no_word_of_memory(host):
    host.vms.define("big", host.config())
    host.run("big")
    found = host.vms.describe("big")
    assert found["memory"] is None
    assert found["qemu"]["smemv"] is False


def test_a_qemu_that_fails_otherwise_is_unresponsive(host):
    host.vms.define("big", host.config())
    host.run("big", query_smemv=Refusal("GenericError", "broken"))
    found = host.vms.describe("big")
    assert (found["state"], found["reason"]) == ("unresponsive", "QEMU refused query-smemv: broken")


def test_a_vm_that_is_expected_is_not_adopted_until_then(host):
    host.vms.define("big", host.config(), incoming=True)
    assert host.vms.describe("big")["adopted"] is False
    assert Path(host.vms.paths("big").incoming).read_text() == "SMEMV_INCOMING=-incoming defer\n"
    host.vms.adopt("big")
    assert host.vms.describe("big")["adopted"] is True


def test_start_waits_until_qemu_answers(host):
    host.vms.define("big", host.config())
    host.systemd.on_start = lambda unit: (
        host.systemd.active.add(unit),
        threading.Timer(0.3, host.run, ["big"]).start(),
    )
    host.vms.start("big")
    assert host.vms.describe("big")["state"] == "running"


def test_a_start_that_fails_gives_qemus_words(host):
    host.vms.define("big", host.config())
    host.systemd.on_start = lambda unit: None
    host.systemd.journal = "Starting\nqemu-system-x86_64: -disk: no such thing\nfailed\n"
    with pytest.raises(HostError, match=r"did not start: qemu-system-x86_64: -disk: no such thing$"):
        host.vms.start("big")


def test_a_start_without_its_files_names_them(host):
    host.vms.define("big", host.config(kernel="/nowhere/k", disks=[{"path": "/nowhere/d"}]))
    with pytest.raises(HostError, match="there is no /nowhere/k, no /nowhere/d"):
        host.vms.start("big")
    assert ["start", "smemv-vm-big.service"] not in host.systemd.calls


def test_a_guest_is_asked_to_power_off_before_it_is_stopped(host):
    host.vms.define("big", host.config())
    unit = host.vms.paths("big").unit_name
    qemu = host.run("big", system_powerdown=lambda _arguments: host.systemd.active.discard(unit) or {})
    host.vms.shut_down("big", 5)
    assert qemu.commands() == ["system_powerdown"]


def test_a_guest_that_does_not_power_off_is_stopped(host):
    host.vms.define("big", host.config())
    qemu = host.run("big", system_powerdown={})
    host.vms.shut_down("big", 0.2)
    assert qemu.commands() == ["system_powerdown"]
    assert host.vms.describe("big")["state"] == "stopped"


def test_nothing_stays_of_a_vm_that_is_removed(host):
    host.vms.define("big", host.config(), incoming=True)
    host.vms.undefine("big")
    assert host.vms.describe("big") is None
    paths = host.vms.paths("big")
    assert not os.path.exists(paths.unit)
    assert not os.path.exists(paths.config_dir)
    host.vms.undefine("big")


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "config.json"
    write_file(str(path), "one")
    with pytest.raises(UnicodeEncodeError):
        write_file(str(path), "\ud800")
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["config.json"]
    assert path.stat().st_mode & 0o777 == 0o644
