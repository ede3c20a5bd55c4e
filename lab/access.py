# SPDX-License-Identifier: GPL-3.0-or-later
"""How the machine's user reaches the hosts: a key, an ssh configuration, an Ansible inventory."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

from lab.command import run
from lab.host import Host
from lab.release import NEWEST, RELEASES
from lab.settings import CHECKOUT, DEFAULT_LAB, STATE

# After a power cut nobody answers: notice within seconds, on a connection kept open too. Those belong to one user (%i).
SSH_CONFIG = """\
Host host-* {addresses}
    User root
    IdentityFile {folder}/id_ed25519
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    StrictHostKeyChecking yes
    LogLevel ERROR
    ConnectTimeout 5
    ServerAliveInterval 3
    ServerAliveCountMax 2
    ControlMaster auto
    ControlPath {folder}/ssh/%i-%C
    ControlPersist 60s
"""

INVENTORY_VARIABLES = """\
---
all:
  vars:
    ansible_user: root
    ansible_python_interpreter: /usr/bin/python3
    ansible_ssh_args: -F {folder}/ssh_config
    ansible_pipelining: true
    # The lab's own authority goes when the lab goes.
    pki_ca_folder: {folder}/ca
"""


def inventory_path(lab: str) -> Path:
    """Return the lab's inventory in this checkout."""
    return CHECKOUT / "lab" / ("inventory.yml" if lab == DEFAULT_LAB else f"inventory-{lab}.yml")


def ensure_key(lab: str) -> None:
    """Make the key that opens every host of the lab, for root and for the user behind sudo."""
    folder = STATE / lab
    (folder / "ssh").mkdir(mode=0o700, exist_ok=True)
    if not (folder / "id_ed25519").exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {lab}", "-f", folder / "id_ed25519")
        for path in (folder / "id_ed25519", folder / "ssh"):
            _give_to_user(path)


def write(lab: str, hosts: list[Host], release: str) -> None:
    """Write what ssh and Ansible need to know."""
    folder = STATE / lab
    config = SSH_CONFIG.format(folder=folder, addresses=" ".join(host.address for host in hosts))
    config += "".join(f"Host {host.name}\n    HostName {host.address}\n" for host in hosts)
    _write_if_changed(folder / "ssh_config", config)

    keys = [(host.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="utf-8") for host in hosts]
    _write_if_changed(folder / "known_hosts", "".join(f"{host.address} {key}" for host, key in zip(hosts, keys)))

    inventory = INVENTORY_VARIABLES.format(folder=folder)
    if RELEASES[release].distribution != "Debian":
        inventory += f"    qemu_debian_mirror: {RELEASES[NEWEST].mirror()}\n"
    inventory += "  children:\n    kvm_hosts:\n      hosts:\n"
    for host in hosts:
        inventory += f"        {host.name}:\n          ansible_host: {host.address}\n"
        inventory += f"          smemv_address: {host.address}\n"
    inventory += "    memservers:\n      hosts:\n" + "".join(f"        {host.name}:\n" for host in hosts)
    if _write_if_changed(inventory_path(lab), inventory):
        _give_to_user(inventory_path(lab))


def remove(lab: str, inventory: Path) -> None:
    """Close the connections kept open and remove the inventory; the rest goes with the lab's folder."""
    for socket in (STATE / lab / "ssh").glob("*"):
        run("ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "lab", check=False)
    inventory.unlink(missing_ok=True)


def _write_if_changed(path: Path, text: str) -> bool:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True


def _give_to_user(path: Path) -> None:
    if "SUDO_UID" in os.environ:
        shutil.chown(path, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
