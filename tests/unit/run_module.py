# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module of the collection in this process, and holds what it returns against its RETURN documentation."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import yaml
from ansible.module_utils import basic
from ansible_collections.smemv.kvm.plugins.module_utils import move_task

MODULES = Path(__file__).resolve().parents[2] / "plugins" / "modules"
NAMES = sorted(path.stem for path in MODULES.glob("[a-z]*.py"))
# What every module of Ansible's may return.
COMMON = {"changed", "failed", "msg", "warnings", "invocation", "deprecations"}
TYPES = {"str": str, "int": int, "float": (int, float), "bool": bool, "list": list, "dict": dict}


class Ended(Exception):
    """A module has ended, with this result."""

    def __init__(self, result):
        super().__init__(result)
        self.result = result


def run_module(monkeypatch, vms, name, args, check=False):
    """What a module returned; well or not, it is as its documentation says.

    :param vms: the VmHost that it works on.
    """
    module = importlib.import_module(f"ansible_collections.smemv.kvm.plugins.modules.{name}")

    def end(_self, **result):
        raise Ended({"changed": False, **result})

    def fail(_self, msg, **result):
        raise Ended({"failed": True, "msg": msg, **result})

    with monkeypatch.context() as patch:
        words = {"ANSIBLE_MODULE_ARGS": {**args, "_ansible_check_mode": check}}
        patch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(words).encode())
        # Only newer versions of Ansible have it.
        patch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        for place in (module, move_task):
            patch.setattr(place, "VmHost", lambda run_command: vms, raising=False)
        patch.setattr(basic.AnsibleModule, "exit_json", end)
        patch.setattr(basic.AnsibleModule, "fail_json", fail)
        try:
            module.main()
        except Ended as ended:
            check_result(name, ended.result)
            return ended.result
    raise AssertionError(f"{name} has not ended")


def returned(name):
    """A module's RETURN documentation."""
    text = (MODULES / f"{name}.py").read_text(encoding="utf-8").partition('RETURN = r"""')[2].partition('"""')[0]
    return yaml.safe_load(text) or {}


def check_result(name, result):
    """Everything returned is documented, with its type, and everything that always is returned is there."""
    documented = returned(name)
    check_keys(name, documented, {key: value for key, value in result.items() if key not in COMMON}, True)
    if not result.get("failed"):
        always = {key for key, value in documented.items() if value["returned"].startswith("always")}
        assert always <= set(result), f"{name} does not return {always - set(result)}"


def check_keys(where, documented, values, closed):
    """Values are as they are documented; ``closed``: all of them are."""
    if closed:
        assert set(values) <= set(documented), f"{where} does not document {set(values) - set(documented)}"
    for key, value in values.items():
        if value is None or key not in documented:
            continue
        what, place = documented[key], f"{where}.{key}"
        assert isinstance(value, TYPES[what["type"]]), f"{place} is {value!r}, not of type {what['type']}"
        assert what["type"] == "bool" or not isinstance(value, bool), f"{place} is a bool"
        entries = value if isinstance(value, list) else [value]
        for entry in entries:
            if "elements" in what:
                assert isinstance(entry, TYPES[what["elements"]]), f"{place} has {entry!r}"
            if "contains" in what:
                check_keys(place, what["contains"], entry, True)
