# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's configuration: made whole, compared, turned into QEMU's command line and a systemd unit. Pure.

The same configuration gives the same guest on any host: the machine type is pinned, each device has an id and a
PCI address of its own, and MAC address and UUID derive from the VM's name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid

from ansible_collections.smemv.kvm.plugins.module_utils.errors import ConfigError
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import MIB, format_size, parse_size

QEMU = "/opt/smemv/qemu/bin/qemu-system-x86_64"
MACHINE = "pc-q35-10.0"
FIRMWARE = ("/usr/share/seabios", "/usr/share/qemu", "/usr/lib/ipxe/qemu")
CONFIG_DIR = "/var/lib/smemv/vm"
RUN_DIR = "/run/smemv/vm"
LOG_DIR = "/var/log/smemv"
UNIT_DIR = "/etc/systemd/system"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)
_CONTROL = re.compile(r"[\x01-\x1f\x7f]")
_UUID_NAMESPACE = uuid.UUID("2f0c1a52-6a6e-5f0e-9d0c-7f6c6a1f4a10")
# What PrivateTmp= hides from a VM's unit.
_HIDDEN = ("/tmp/", "/var/tmp/")
# Slots of the root bus; 0 is the host bridge, 31 the south bridge.
_BALLOON_SLOT = 2
_RNG_SLOT = 3
_DISK_SLOTS = range(4, 16)
_NIC_SLOTS = range(16, 28)

DEFAULTS = {
    "vcpus": 1,
    "cpu": "qemu64",
    "accel": "auto",
    "disks": [],
    "nics": [],
    "balloon": True,
    "kernel": None,
    "initrd": None,
    "append": None,
    "extra_args": [],
    "qemu": QEMU,
}
KEYS = ("memory", *DEFAULTS)


class Paths:
    """Where the files of a VM are on the host it is on."""

    def __init__(self, name, root=""):
        check_name(name)
        self.unit_name = f"smemv-vm-{name}.service"
        self.unit = os.path.join(root + UNIT_DIR, self.unit_name)
        self.config_dir = os.path.join(root + CONFIG_DIR, name)
        self.config = os.path.join(self.config_dir, "config.json")
        # Present while the VM is only expected here, or has come and has not been taken over yet.
        self.incoming = os.path.join(self.config_dir, "incoming.env")
        self.run_dir = os.path.join(root + RUN_DIR, name)
        self.qmp = os.path.join(self.run_dir, "qmp.sock")
        # Where the VM is moving to; gone with the unit.
        self.relocation = os.path.join(self.run_dir, "relocation.json")
        self.console = os.path.join(root + LOG_DIR, name + ".console.log")


def check_name(name):
    """Refuse what cannot be a unit, a folder and a session at once. Raises ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a VM's name: letters, digits, '.', '_' and '-', at most 63, the first a letter or a digit"
        )


def complete(name, requested, current, kvm):
    """The configuration that a request asks for.

    :param requested: {key: value or None}; None keeps what ``current`` has, or the default.
    :param current: the VM's configuration, or None for a new VM.
    :param kvm: whether this host has /dev/kvm; decides what ``accel: auto`` becomes on a new VM.
    :returns: a whole configuration: every key set, ``accel`` resolved, each disk and NIC whole.
    :raises ConfigError: where it cannot be.
    """
    config = dict(DEFAULTS, memory=None)
    if current is not None:
        # One of before there was a balloon stays without.
        config["balloon"] = False
        config.update(current)
    config.update((key, value) for key, value in requested.items() if key in KEYS and value is not None)
    if config["memory"] is None:
        raise ConfigError("memory is wanted for a new VM, such as memory: 2GiB")
    memory = parse_size(config["memory"], "memory")
    if memory < MIB or memory % MIB:
        raise ConfigError("memory {} is not a multiple of 1MiB".format(config["memory"]))
    config["memory"] = format_size(memory)
    if not 1 <= config["vcpus"] <= 255:
        raise ConfigError("vcpus {} is not between 1 and 255".format(config["vcpus"]))
    if config["accel"] == "auto":
        config["accel"] = (current or {}).get("accel") or ("kvm" if kvm else "tcg")
    if config["kernel"] is None and (config["initrd"] is not None or config["append"] is not None):
        raise ConfigError("initrd and append want a kernel")
    config["disks"] = _disks(config["disks"])
    config["nics"] = _nics(name, config["nics"])
    for what in paths_wanted(config):
        if not what.startswith("/"):
            raise ConfigError(f"{what!r} is not an absolute path")
        if what.startswith(_HIDDEN) and what != config["qemu"]:
            raise ConfigError(f"{what} is out of the VM's sight: its unit has a /tmp and /var/tmp of its own")
    return config


def _disks(disks):
    if len(disks) > len(_DISK_SLOTS):
        raise ConfigError(f"{len(disks)} disks are more than the {len(_DISK_SLOTS)} that a VM can have")
    return [
        {
            "path": disk["path"],
            "format": disk.get("format") or "raw",
            "readonly": bool(disk.get("readonly")),
            "cache": disk.get("cache") or "none",
        }
        for disk in disks
    ]


def _nics(name, nics):
    if len(nics) > len(_NIC_SLOTS):
        raise ConfigError(f"{len(nics)} NICs are more than the {len(_NIC_SLOTS)} that a VM can have")
    whole = []
    for index, nic in enumerate(nics):
        kind = nic["type"]
        mac = (nic.get("mac") or derived_mac(name, index)).lower()
        if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1:
            raise ConfigError(f"{mac} is not the MAC address of a NIC")
        wanted = {"user": (), "tap": ("ifname",), "bridge": ("bridge",)}[kind]
        for key in ("ifname", "bridge"):
            value = nic.get(key)
            if (value is not None) != (key in wanted):
                raise ConfigError("a NIC of type {} {} {}".format(kind, "wants" if key in wanted else "has no", key))
            if value is not None and not _INTERFACE.fullmatch(value):
                raise ConfigError(f"{value!r} is not the name of a network interface")
        whole.append(dict({"type": kind, "mac": mac}, **{key: nic[key] for key in wanted}))
    if len({nic["mac"] for nic in whole}) < len(whole):
        raise ConfigError("two NICs have the same MAC address")
    return whole


def derived_mac(name, index):
    """The MAC address of a VM's NIC where none is given: the same on every host."""
    digest = hashlib.sha256((f"{name}/{index}").encode()).hexdigest()
    return f"52:54:00:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"


def derived_tap(name, index):
    """The tap device that the unit makes for a NIC on a bridge."""
    return f"smv{hashlib.sha256(name.encode()).hexdigest()[:8]}.{index}"


def paths_wanted(config):
    """The files that a host has to have to run the VM."""
    files = [config["qemu"]] + [config[key] for key in ("kernel", "initrd") if config[key] is not None]
    return files + [disk["path"] for disk in config["disks"]]


def differences(before, after):
    """Keys in which two configurations differ, in a fixed order; None is a VM that is not there."""
    before, after = before or {}, after or {}
    return [key for key in KEYS if before.get(key) != after.get(key)]


def command_line(name, config, paths):
    """QEMU's command line, a list of words; where the VM is to come in, words for that are put behind it."""
    words = [config["qemu"], "-name", f"guest={name}"]
    words += ["-uuid", str(uuid.uuid5(_UUID_NAMESPACE, name))]
    words += ["-nodefaults", "-no-user-config", "-display", "none", "-msg", "timestamp=on"]
    for directory in FIRMWARE:
        words += ["-L", directory]
    words += ["-machine", MACHINE, "-accel", config["accel"], "-cpu", config["cpu"]]
    words += ["-smp", str(config["vcpus"]), "-m", "%sM" % (parse_size(config["memory"]) // MIB)]
    words += ["-qmp", f"unix:{paths.qmp},server=on,wait=off"]
    words += ["-chardev", f"file,id=console0,path={paths.console},append=on"]
    words += ["-device", "isa-serial,id=serial0,chardev=console0,index=0"]
    words += ["-object", "rng-random,id=rng0,filename=/dev/urandom"]
    words += ["-device", f"virtio-rng-pci,id=virtio-rng0,rng=rng0,bus=pcie.0,addr={_RNG_SLOT:#x}"]
    if config["balloon"]:
        # It is told which memory the guest has free: that is not moved.
        words += ["-object", "iothread,id=balloon-thread0"]
        balloon = "virtio-balloon-pci,id=balloon0,free-page-hint=on,free-page-reporting=on,iothread=balloon-thread0"
        words += ["-device", f"{balloon},bus=pcie.0,addr={_BALLOON_SLOT:#x}"]
    for index, disk in enumerate(config["disks"]):
        words += _disk_words(index, disk)
    for index, nic in enumerate(config["nics"]):
        words += _nic_words(name, index, nic)
    for option in ("kernel", "initrd", "append"):
        if config[option] is not None:
            words += ["-" + option, config[option]]
    return words + list(config["extra_args"])


def _disk_words(index, disk):
    backend = {
        "node-name": f"disk{index}",
        "driver": disk["format"],
        "read-only": disk["readonly"],
        "cache": {"direct": disk["cache"] == "none"},
        "file": {
            "driver": "file",
            "filename": disk["path"],
            "read-only": disk["readonly"],
            "cache": {"direct": disk["cache"] == "none"},
        },
    }
    device = f"virtio-blk-pci,id=virtio-disk{index},drive=disk{index},bus=pcie.0,addr=0x{_DISK_SLOTS[index]:x}"
    return ["-blockdev", json.dumps(backend, sort_keys=True), "-device", device]


def _nic_words(name, index, nic):
    if nic["type"] == "user":
        backend = f"user,id=net{index}"
    else:
        ifname = nic["ifname"] if nic["type"] == "tap" else derived_tap(name, index)
        # Without vhost: the pages of a split VM are QEMU's to fetch.
        backend = f"tap,id=net{index},ifname={ifname},script=no,downscript=no,vhost=off"
    # No option ROM: the VM boots from its disk or kernel, and the ROM's size would become part of the guest.
    device = f"virtio-net-pci,id=virtio-net{index},netdev=net{index},mac={nic['mac']},romfile="
    return ["-netdev", backend, "-device", f"{device},bus=pcie.0,addr=0x{_NIC_SLOTS[index]:x}"]


def unit(name, config, paths):
    """The VM's systemd unit. What all VMs share is in the drop-in smemv-vm-.service.d, laid by the role qemu."""
    before, after = [], []
    for index, nic in enumerate(config["nics"]):
        if nic["type"] == "bridge":
            tap = derived_tap(name, index)
            # "+": with full privileges, which QEMU itself does not get.
            before.append(f"ExecStartPre=+/usr/sbin/ip tuntap add dev {tap} mode tap user root")
            before.append("ExecStartPre=+/usr/sbin/ip link set dev {} master {} up".format(tap, nic["bridge"]))
            after.append(f"ExecStopPost=-+/usr/sbin/ip link delete dev {tap}")
    writable = sorted({os.path.dirname(disk["path"]) for disk in config["disks"] if not disk["readonly"]})
    lines = [
        "# Written by the Ansible module smemv.kvm.vm, which also changes it.",
        "[Unit]",
        f"Description=Virtual machine {name}",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=exec",
        "Environment=SMEMV_INCOMING=",
        # Sets it while the VM is expected from another host.
        f"EnvironmentFile=-{paths.incoming}",
    ]
    lines += before
    lines.append("ExecStart={} $SMEMV_INCOMING".format(" ".join(map(_quote, command_line(name, config, paths)))))
    lines += after
    lines += [
        f"RuntimeDirectory=smemv/vm/{name}",
        "RuntimeDirectoryMode=0700",
        "LogsDirectory=smemv",
    ]
    lines += [f"ReadWritePaths={_quote(directory)}" for directory in writable]
    return "\n".join(lines) + "\n"


def _quote(word):
    """A word of systemd's ExecStart= that comes out as it is."""
    word = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./$-]+", word, re.ASCII):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return '"{}"'.format(_CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", escaped))
