# SPDX-License-Identifier: GPL-3.0-or-later
"""The shell settings with which plain ansible-playbook finds the lab, the collection and the venv."""
from __future__ import annotations

import shlex

from lab.command import run
from lab.labs import Lab
from lab.settings import CHECKOUT

COLLECTIONS = CHECKOUT / "build"


def shell_lines(lab: Lab) -> str:
    """Return lines for a shell to evaluate."""
    _link_collection()
    venv = run(CHECKOUT / "tools/venv", "--path").strip()
    settings = {
        "SMEMV_LAB": lab.name,
        "ANSIBLE_INVENTORY": lab.inventory,
        "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS,
        # All hosts at once: with Ansible's five, six hosts take twice as long as five.
        "ANSIBLE_FORKS": max(5, len(lab.memory)),
        "VIRTUAL_ENV": venv,
    }
    lines = [f"export {name}={shlex.quote(str(value))}" for name, value in settings.items()]
    return "\n".join([*lines, f'export PATH={shlex.quote(venv)}/bin:"$PATH"'])


def _link_collection() -> None:
    """Ansible finds a collection only under ansible_collections/NAMESPACE/NAME."""
    link = COLLECTIONS / "ansible_collections/smemv/kvm"
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(CHECKOUT, target_is_directory=True)
