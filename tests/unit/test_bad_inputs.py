# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator may get wrong, and the one sentence that each mistake is answered by.

A row is a module, what is wrong with its task, and the message. Options are changed in a task that is good; a function
makes the host or the cluster bad instead. tests/integration/test_refusals*.py has those that want real hosts.
"""

from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils import tls
from clusters import NAMES as HOSTS
from clusters import cluster, put
from fake_qmp import Refusal
from run_module import run_module
from test_modules import SPLIT, SUB_HOST, WHOLE, Guest, consolidate, rebalance, remigrate, split_migrate, vm

GIB = 1 << 30
LAYOUT = {"vm": "big", "destination_host": "host-2", "sub_hosts": ["host-3", "host-4"], "main_memory": "1GiB"}


def layout(_host):
    hosts = cluster()
    put(hosts, "big", "host-1")
    return {**LAYOUT, "kvm_hosts": HOSTS, "memservers": HOSTS, "hosts": hosts}


def evacuation_plan(_host):
    hosts = cluster(2)
    put(hosts, "big", "host-1")
    return {"host": "host-1", "kvm_hosts": HOSTS[:2], "memservers": HOSTS[:2], "hosts": hosts}


def vm_incoming(host):
    return {"name": "big", "config": host.config(), "address": "198.18.0.2", "tls": False}


def on(name, *path, value):
    """Something a host of the cluster has otherwise."""

    def spoil(_host, args):
        record = args["hosts"][name]
        for key in path[:-1]:
            record = record[key]
        record[path[-1]] = value

    return spoil


def there_already(host, _args):
    """The host has the VM."""
    Guest(host)


def refuse(**answers):
    """The VM's QEMU refuses commands."""

    def spoil(host, _args):
        host.running["smemv-vm-big.service"].answers.update(
            {command.replace("_", "-"): Refusal("GenericError", text) for command, text in answers.items()}
        )

    return spoil


def certified(host, args):
    """TLS with a certificate that has expired."""
    args["tls"] = True
    qemu = host.running["smemv-vm-big.service"]
    qemu.answers["qom-list"] = [[]]
    qemu.answers["object-add"] = Refusal("GenericError", "The certificate /etc/smemv/pki/client-cert.pem has expired")


def moving_elsewhere(host, _args):
    qemu = host.running["smemv-vm-big.service"]
    qemu.answers["query-migrate"] = {"status": "active"}


def fenced(host, _args):
    qemu = host.running["smemv-vm-big.service"]
    qemu.answers.update({"query-migrate": {"status": "failed"}, "query-status": {"status": "postmigrate"}})


NIC = {"type": "user", "mac": "52:54:00:00:00:01"}
ROWS = [
    # What is asked for.
    (layout, {"vm": "large"}, "VM large is not touched: request: no host has a VM large"),
    (layout, {"destination_host": "hots-2"}, "hots-2: no host of that name is in the inventory's group kvm_hosts"),
    (
        layout,
        {"sub_hosts": ["host-3", "host-9"]},
        "host-9: no host of that name is in the inventory's group memservers",
    ),
    (layout, {"sub_hosts": []}, "request: sub_hosts names no host"),
    (layout, {"sub_hosts": ["host-2", "host-3"]}, "host-2: is the destination and cannot be a sub-host too"),
    (layout, {"sub_hosts": ["host-3", "host-3"]}, "host-3: is listed twice in sub_hosts"),
    (layout, {"destination_host": "host-1"}, "host-1: VM big runs here already: the destination is the source"),
    (layout, {"main_memory": "1G"}, "main_memory '1G' is not a size: write a whole number and one of B, KiB, MiB, GiB"),
    (layout, {"main_memory": "1024"}, "main_memory '1024' is not a size"),
    (layout, {"main_memory": "-1GiB"}, "main_memory '-1GiB' is not a size"),
    (layout, {"main_memory": "5000B"}, "main_memory 5000B is not a multiple of the page, 4KiB"),
    (layout, {"main_memory": "32MiB"}, "host-2: main_memory 32MiB is less than the 64MiB that VM big can work with"),
    (layout, {"main_memory": "2GiB"}, "host-2: main_memory 2GiB holds all of VM big (2GiB): there is nothing to split"),
    (layout, {"main_memory": "all"}, "request: main_memory all leaves nothing for sub_hosts"),
    # What the hosts have.
    (
        layout,
        on("host-2", "memory", "available", value=GIB),
        "host-2: has 1024MiB of memory free, and main_memory 1GiB",
    ),
    (layout, on("host-2", "maintenance", value="new disks"), "host-2: is in maintenance: new disks"),
    (layout, on("host-3", "maintenance", value="new disks"), "host-3: is in maintenance: new disks"),
    (
        layout,
        on("host-2", "qemu", value={"smemv": False, "reason": "has no QEMU of ours"}),
        "host-2: has no QEMU of ours",
    ),
    (
        layout,
        on("host-2", "userfaultfd", value={"move": False, "reason": "Linux 6.1 is too old"}),
        "host-2: Linux 6.1 is",
    ),
    (layout, on("host-3", "memserver", value={"running": False, "reason": ""}), "host-3: its memserver is not running"),
    (layout, on("host-3", "memserver", "capacity", value=4096), "host-3: its memserver has no room left: "),
    (layout, on("host-1", "vms", 0, "config", "accel", value="kvm"), "host-2: has no /dev/kvm, which VM big runs with"),
    (
        layout,
        on("host-1", "vms", 0, "memory", value=None),
        "host-1: VM big was started by a QEMU without split migration",
    ),
    (
        layout,
        on("host-1", "vms", 0, "memory", "blocked", value=["vfio-pci 0000:01:00.0"]),
        "VM big cannot be split: vfio",
    ),
    (layout, on("host-1", "vms", 0, "state", value="stopped"), "VM big"),
    (
        evacuation_plan,
        on("host-2", "maintenance", value="no power"),
        "host-1 is not emptied: host-1: holds VM big or pages",
    ),
    (evacuation_plan, {"host": "host-9"}, "host-9 is not emptied: host-9: "),
    # A VM's configuration.
    (vm, {"memory": None}, "memory is wanted for a new VM, such as memory: 2GiB"),
    (vm, {"memory": "2G"}, "memory '2G' is not a size"),
    (vm, {"memory": "1536KiB"}, "memory 1536KiB is not a multiple of 1MiB"),
    (vm, {"vcpus": 0}, "vcpus 0 is not between 1 and 255"),
    (vm, {"vcpus": "two"}, "argument 'vcpus' is of type"),
    (vm, {"accel": "xen"}, "value of accel must be one of: auto, kvm, tcg, got: xen"),
    (vm, {"name": "a/b"}, "'a/b' "),
    (vm, {"memmory": "1GiB"}, "memmory"),
    (vm, {"append": "quiet"}, "initrd and append want a kernel"),
    (vm, {"disks": [{"path": "big.img"}]}, "'big.img' is not an absolute path"),
    (vm, {"disks": [{"path": "/tmp/big.img"}]}, "/tmp/big.img is out of the VM's sight: its unit has a /tmp"),
    (vm, {"disks": [{"path": f"/srv/{number}"} for number in range(99)]}, "99 disks are more than the "),
    (vm, {"nics": [{"type": "user"}] * 99}, "99 NICs are more than the "),
    (vm, {"nics": [NIC, NIC]}, "two NICs have the same MAC address"),
    (vm, {"nics": [{**NIC, "mac": "53:54:00:00:00:01"}]}, "53:54:00:00:00:01 is not the MAC address of a NIC"),
    (vm, {"nics": [{**NIC, "type": "bridge"}]}, "a NIC of type bridge wants bridge"),
    (vm, {"nics": [{**NIC, "ifname": "tap0"}]}, "a NIC of type user has no ifname"),
    (vm, {"disks": [{"path": "/nowhere/a.img"}]}, "VM big cannot start: there is no /nowhere/a.img"),
    # A move.
    (split_migrate, {"name": "small"}, "there is no VM small here"),
    (split_migrate, {"bandwidth": "1Gbit"}, "bandwidth '1Gbit' is not a size"),
    (split_migrate, {"destination_port": None}, "destination_port is wanted: where the destination waits for the VM"),
    (split_migrate, {"on_stall": "panic"}, "value of on_stall must be one of: fail, throttle, wait, got: panic"),
    (
        split_migrate,
        {"seal": True},
        "VM big is not moved: its pages are sealed, and their key travels in the migration",
    ),
    (split_migrate, moving_elsewhere, "VM big is moving already, elsewhere or by other means"),
    (split_migrate, fenced, "VM big is paused here, as it may run at the destination"),
    (
        split_migrate,
        refuse(smemv_set_target="vfio-pci cannot be paged"),
        "VM big cannot be moved: vfio-pci cannot be paged",
    ),
    (split_migrate, refuse(migrate="no route to host"), "VM big cannot be moved: no route to host"),
    (split_migrate, certified, "VM big cannot be moved: The certificate /etc/smemv/pki/client-cert.pem has expired"),
    (split_migrate, {"tls": True}, "there are no certificates in "),
    (split_migrate, lambda host, _args: setattr(host, "memory", SPLIT), "it is split already: remigrate is for that"),
    (remigrate, lambda host, _args: setattr(host, "memory", WHOLE), "it is whole: split_migrate is for that"),
    (consolidate, {"timeout": "soon"}, "argument 'timeout' is of type"),
    (rebalance, {"sub_hosts": [{**SUB_HOST, "name": "host-9", "share": None}]}, "a share is wanted for host-9"),
    (rebalance, refuse(smemv_rebalance="host-4: no room"), "VM big cannot be rebalanced: host-4: no room"),
    (
        rebalance,
        lambda host, _args: setattr(host, "memory", WHOLE),
        "VM big is whole: only a split migration to another",
    ),
    # Its other hosts.
    (vm_incoming, {"config": None}, "state is listening but all of the following are missing: config"),
    (vm_incoming, {"tls": True}, "there are no certificates in "),
    (vm_incoming, there_already, "there is a VM big of this host's own, running"),
    (vm_incoming, {"state": "adopted"}, "there is no VM big here"),
]


@pytest.mark.parametrize(
    ("begin", "wrong", "message"), ROWS, ids=[f"{number}-{row[0].__name__}" for number, row in enumerate(ROWS, 1)]
)
def test_each_mistake_is_answered_by_one_sentence(host, monkeypatch, tmp_path, begin, wrong, message):
    pki = tmp_path / "pki"
    pki.mkdir()
    monkeypatch.setattr(tls, "FOLDER", str(pki))
    args = begin(host)
    if callable(wrong):
        wrong(host, args)
    else:
        args.update(wrong)
    if wrong is certified:
        (pki / "client-cert.pem").touch()
    if hasattr(host, "memory"):
        host.running["smemv-vm-big.service"].answers["query-smemv"] = host.memory
    result = run_module(monkeypatch, host.vms, begin.__name__, {k: v for k, v in args.items() if v is not None})
    assert result.get("failed"), result
    assert message in result["msg"]
    assert "\n" not in result["msg"]
    assert "Traceback" not in result["msg"]


def test_there_are_fifty():
    assert len(ROWS) >= 50
