# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import re

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils import vm
from ansible_collections.smemv.kvm.plugins.module_utils.errors import ConfigError, SizeError
from hypothesis import given
from hypothesis import strategies as st

PATHS = vm.Paths("big")


def config(**requested):
    return vm.complete("big", {"memory": "2GiB", **requested}, None, False)


def words_of(name="big", **requested):
    return vm.command_line(name, vm.complete(name, {"memory": "2GiB", **requested}, None, False), vm.Paths(name))


def value_of(words, option):
    return words[words.index(option) + 1]


def test_a_new_vm_gets_every_default():
    assert config() == {"memory": "2GiB", **vm.DEFAULTS, "accel": "tcg"}


def test_a_configuration_is_complete_already():
    first = config(disks=[{"path": "/a"}], nics=[{"type": "bridge", "bridge": "br0"}], vcpus=2)
    assert vm.complete("big", {}, first, True) == first
    assert vm.complete("big", first, first, True) == first
    assert vm.complete("big", {"memory": "2048MiB", "accel": "auto"}, first, True) == first


def test_what_is_asked_for_wins_over_what_there_is():
    after = vm.complete("big", {"vcpus": 4, "cpu": None}, config(cpu="max"), False)
    assert vm.differences(config(cpu="max"), after) == ["vcpus"]
    assert vm.differences(None, after)[0] == "memory"
    assert vm.differences(after, after) == []


def test_acceleration_is_settled_when_a_vm_is_new():
    assert vm.complete("big", {"memory": "1GiB"}, None, True)["accel"] == "kvm"
    assert vm.complete("big", {"memory": "1GiB"}, None, False)["accel"] == "tcg"
    assert vm.complete("big", {"accel": "auto"}, config(accel="tcg"), True)["accel"] == "tcg"


BAD = [
    ({"memory": None}, "memory is wanted for a new VM"),
    ({"memory": "2049KiB"}, "not a multiple of 1MiB"),
    ({"memory": "0B"}, "not a multiple of 1MiB"),
    ({"vcpus": 0}, "vcpus 0 is not between"),
    ({"vcpus": 256}, "vcpus 256 is not between"),
    ({"append": "quiet"}, "want a kernel"),
    ({"kernel": "bzImage"}, "not an absolute path"),
    ({"disks": [{"path": "big.img"}]}, "not an absolute path"),
    ({"disks": [{"path": "/var/tmp/big.img"}]}, "/var/tmp/big.img is out of the VM's sight"),
    ({"disks": [{"path": "/a"}] * 13}, "13 disks are more than the 12"),
    ({"nics": [{"type": "user"}] * 13}, "13 NICs are more than the 12"),
    ({"nics": [{"type": "user", "mac": "52:54:00:00:00"}]}, "not the MAC address"),
    ({"nics": [{"type": "user", "mac": "53:54:00:00:00:01"}]}, "not the MAC address"),
    ({"nics": [{"type": "user", "mac": "52:54:00:00:00:01"}] * 2}, "the same MAC address"),
    ({"nics": [{"type": "tap"}]}, "a NIC of type tap wants ifname"),
    ({"nics": [{"type": "bridge"}]}, "a NIC of type bridge wants bridge"),
    ({"nics": [{"type": "user", "bridge": "br0"}]}, "a NIC of type user has no bridge"),
    ({"nics": [{"type": "bridge", "bridge": "a b"}]}, "not the name of a network interface"),
]


@pytest.mark.parametrize(("requested", "message"), BAD)
def test_what_cannot_be_configured(requested, message):
    with pytest.raises(ConfigError, match=message):
        config(**requested)


def test_memory_is_a_size():
    with pytest.raises(SizeError, match="memory '2048' is not a size"):
        config(memory="2048")


@pytest.mark.parametrize("name", ["", "-big", ".big", "b/g", "b g", "b\n", "ä", "b" * 64, "../big"])
def test_what_is_no_name(name):
    with pytest.raises(ConfigError, match="is not a VM's name"):
        vm.Paths(name)


def test_the_guest_is_the_same_on_every_host():
    requested = {
        "vcpus": 2,
        "disks": [{"path": "/srv/a,b.img"}, {"path": "/srv/c.qcow2", "format": "qcow2", "readonly": True}],
        "nics": [{"type": "user"}, {"type": "tap", "ifname": "tap0", "mac": "52:54:00:AA:BB:CC"}],
        "kernel": "/srv/k",
        "initrd": "/srv/i",
        "append": "quiet a=b",
        "extra_args": ["-no-reboot"],
    }
    words = words_of(**requested)
    assert words == words_of(**requested)
    devices = [value for option, value in zip(words, words[1:]) if option == "-device"]
    assert devices == [
        "isa-serial,id=serial0,chardev=console0,index=0",
        "virtio-rng-pci,id=virtio-rng0,rng=rng0,bus=pcie.0,addr=0x3",
        "virtio-balloon-pci,id=balloon0,free-page-hint=on,free-page-reporting=on,iothread=balloon-thread0,bus=pcie.0,"
        "addr=0x2",
        "virtio-blk-pci,id=virtio-disk0,drive=disk0,bus=pcie.0,addr=0x4",
        "virtio-blk-pci,id=virtio-disk1,drive=disk1,bus=pcie.0,addr=0x5",
        f"virtio-net-pci,id=virtio-net0,netdev=net0,mac={vm.derived_mac('big', 0)},romfile=,bus=pcie.0,addr=0x10",
        "virtio-net-pci,id=virtio-net1,netdev=net1,mac=52:54:00:aa:bb:cc,romfile=,bus=pcie.0,addr=0x11",
    ]
    disk = json.loads(value_of(words, "-blockdev"))
    assert disk["file"]["filename"] == "/srv/a,b.img"
    assert disk["cache"] == {"direct": True}
    assert value_of(words, "-machine") == "pc-q35-10.0"
    assert (value_of(words, "-smp"), value_of(words, "-m")) == ("2", "2048M")
    assert (value_of(words, "-kernel"), value_of(words, "-append")) == ("/srv/k", "quiet a=b")
    assert words[-1] == "-no-reboot"


def test_vm_of_before_there_were_balloons_gets_none():
    before = config()
    del before["balloon"]
    after = vm.complete("big", {}, before, False)
    assert after["balloon"] is False
    assert not [word for word in vm.command_line("big", after, vm.Paths("big")) if "balloon" in word]
    assert vm.complete("big", {"balloon": True}, before, False)["balloon"] is True


def test_two_vms_differ_in_what_has_to_be_unique():
    one, other = words_of("one", nics=[{"type": "user"}]), words_of("other", nics=[{"type": "user"}])
    for option in ("-uuid", "-qmp", "-chardev"):
        assert value_of(one, option) != value_of(other, option)
    assert vm.derived_mac("one", 0) != vm.derived_mac("other", 0) != vm.derived_mac("other", 1)
    assert len(vm.derived_tap("a" * 63, 11)) <= 15


def unit_lines(**requested):
    return vm.unit("big", config(**requested), PATHS).splitlines()


def test_the_unit_of_a_vm():
    lines = unit_lines(disks=[{"path": "/srv/a b/d.img"}, {"path": "/ro/d.img", "readonly": True}])
    assert "Description=Virtual machine big" in lines
    assert "EnvironmentFile=-/var/lib/smemv/vm/big/incoming.env" in lines
    assert 'ReadWritePaths="/srv/a b"' in lines
    assert not any("/ro" in line for line in lines if line.startswith("ReadWrite"))
    (start,) = [line for line in lines if line.startswith("ExecStart=")]
    assert start.endswith(" $SMEMV_INCOMING")
    assert not any("Install" in line for line in lines)


def test_the_unit_makes_and_removes_the_tap_of_a_bridge():
    lines = unit_lines(nics=[{"type": "user"}, {"type": "bridge", "bridge": "br0"}])
    tap = vm.derived_tap("big", 1)
    assert [line for line in lines if "/ip " in line] == [
        f"ExecStartPre=+/usr/sbin/ip tuntap add dev {tap} mode tap user root",
        f"ExecStartPre=+/usr/sbin/ip link set dev {tap} master br0 up",
        f"ExecStopPost=-+/usr/sbin/ip link delete dev {tap}",
    ]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_systemd_gets_each_word_as_it_is(word):
    unit = vm.unit("big", config(kernel="/k", append=word), PATHS)
    (start,) = [line for line in unit.split("\n") if line.startswith("ExecStart=")]
    assert not any(character in start for character in "\r\x1b")
    text = start.partition(" -append ")[2].removesuffix(" $SMEMV_INCOMING")
    assert unquoted_by_systemd(text) == word


def unquoted_by_systemd(text):
    """A word of ExecStart= as systemd.service(5) and systemd.syntax(7) read it."""
    if text.startswith('"'):
        assert text.endswith('"')
        escapes = re.compile(r"\\(?:x([0-9a-f]{2})|(.))")
        text = escapes.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], text[1:-1])
    return text.replace("%%", "%").replace("$$", "$")
