# SPDX-License-Identifier: GPL-3.0-or-later
"""The built collection, installed and used from outside the checkout."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from run_module import NAMES

from tests.artifact import CHECKOUT, install

PLAYBOOKS = sorted(path.stem for path in (CHECKOUT / "playbooks").glob("*.yml"))
INVENTORY = CHECKOUT / "docs/inventory.yml"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return install(tmp_path_factory.mktemp("artifact"))


def test_it_has_what_users_run_and_not_what_was_built_here(artifact):
    for name in ("README.md", "native/qemu/build", "native/memserver/Makefile", "meta/runtime.yml"):
        assert (artifact.content / name).exists(), name
    for name in ("build", ".git", ".ci", ".hypothesis"):
        assert not (artifact.content / name).exists(), name
    assert not list(artifact.content.glob("**/*.pyc"))
    assert not list(artifact.content.glob("lab/inventory*"))


def test_every_module_has_its_page(artifact):
    told = artifact.run("ansible-doc", "--json", *(f"smemv.kvm.{name}" for name in NAMES))
    assert told.returncode == 0, told.stdout
    assert {name.removeprefix("smemv.kvm.") for name in json.loads(told.stdout)} == set(NAMES)


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_every_playbook_is_found_by_its_name(artifact, playbook):
    checked = artifact.run("ansible-playbook", "-i", str(INVENTORY), "--syntax-check", f"smemv.kvm.{playbook}")
    assert checked.returncode == 0, checked.stdout


def test_the_action_group_has_every_module():
    runtime = yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text(encoding="utf-8"))
    assert runtime["action_groups"]["kvm"] == NAMES


def test_an_execution_environment_has_what_the_controller_wants():
    meta = CHECKOUT / "meta"
    environment = yaml.safe_load((meta / "execution-environment.yml").read_text(encoding="utf-8"))
    python, system = (meta / environment["dependencies"][kind] for kind in ("python", "system"))
    assert {"jmespath", "pygal"} == set(re.findall(r"^\w+", python.read_text(encoding="utf-8"), re.MULTILINE))
    assert "openssl" in system.read_text(encoding="utf-8")
