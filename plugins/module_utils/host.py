# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of what a split VM wants, asked from the kernel and from QEMU itself."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import struct

from ansible_collections.smemv.kvm.plugins.module_utils.errors import MemserverError
from ansible_collections.smemv.kvm.plugins.module_utils.memserver import MemserverClient

UFFD_FEATURE_MOVE = 1 << 16

_SYS_USERFAULTFD = {"x86_64": 323, "aarch64": 282}
_USERFAULTFD_IOC_NEW = 0xAA00
_UFFDIO_API = 0xC018AA3F
_UFFD_API = 0xAA
_UNLIMITED = 1 << 60
_MAINTENANCE = "/etc/smemv/maintenance"


def userfaultfd():
    """Features of the kernel's userfaultfd: {available, move, features, reason}."""
    none = {"available": False, "move": False, "features": 0}
    try:
        descriptor = _userfaultfd_open()
    except OSError as error:
        return dict(none, reason=f"userfaultfd cannot be opened: {error.strerror}")
    try:
        answer = bytearray(struct.pack("<QQQ", _UFFD_API, 0, 0))
        fcntl.ioctl(descriptor, _UFFDIO_API, answer)
    except OSError as error:
        return dict(none, reason=f"userfaultfd refuses its API: {error.strerror}")
    finally:
        os.close(descriptor)
    features = struct.unpack("<QQQ", answer)[1]
    move = bool(features & UFFD_FEATURE_MOVE)
    reason = None if move else f"the kernel {os.uname().release} has no UFFDIO_MOVE, which came with Linux 6.8"
    return {"available": True, "move": move, "features": features, "reason": reason}


def _userfaultfd_open():
    flags = os.O_CLOEXEC | os.O_NONBLOCK
    number = _SYS_USERFAULTFD.get(os.uname().machine)
    if number is not None:
        descriptor = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), ctypes.c_int(flags))
        if descriptor >= 0:
            return descriptor
    device = os.open("/dev/userfaultfd", os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(device, _USERFAULTFD_IOC_NEW, flags)
    finally:
        os.close(device)


def memory(proc="/proc", cgroup="/sys/fs/cgroup"):
    """The host's memory in bytes: {total, available}.

    A host that is a container has less than /proc/meminfo says where a control group limits it, so the limits of
    all groups above this process count too.
    """
    with open(os.path.join(proc, "meminfo"), encoding="ascii") as file:
        meminfo = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
    total, available = meminfo["MemTotal"], meminfo["MemAvailable"]
    for limit, used in _cgroup_limits(proc, cgroup):
        total = min(total, limit)
        available = min(available, max(0, limit - used))
    return {"total": total, "available": available}


def _cgroup_limits(proc, cgroup):
    """(limit, used less what can be reclaimed) of each memory control group above this process."""
    with open(os.path.join(proc, "self", "cgroup"), encoding="utf-8") as file:
        groups = [line.rstrip("\n").split(":", 2) for line in file]
    for _id, controllers, path in groups:
        if controllers == "":
            top, names = cgroup, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = os.path.join(cgroup, "memory")
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            limits = _cgroup_limit(os.path.join(top, *parts[:depth]), *names)
            if limits is not None:
                yield limits


def _cgroup_limit(group, limit_name, usage_name, reclaimable_name):
    try:
        limit = _read(group, limit_name).strip()
        if limit == "max" or int(limit) >= _UNLIMITED:
            return None
        usage = int(_read(group, usage_name))
        stat = dict(line.split() for line in _read(group, "memory.stat").splitlines())
    except FileNotFoundError:
        return None
    return int(limit), usage - int(stat.get(reclaimable_name, 0))


def _read(*path):
    with open(os.path.join(*path), encoding="ascii") as file:
        return file.read()


def qemu(path, run_command):
    """What the QEMU binary at ``path`` is: {path, present, version, smemv, reason}.

    ``smemv`` is asked from the binary's own QMP commands, not read off its version. Their names fit into a pipe; of
    the whole schema QEMU loses, at its end, what nobody has read by then.
    """
    answer = {"path": path, "present": os.access(path, os.X_OK), "version": None, "smemv": False, "reason": None}
    if not answer["present"]:
        return dict(answer, reason=f"there is no QEMU at {path}")
    code, out, err = run_command([path, "--version"])
    if code:
        return dict(answer, reason=f"{path} --version failed: {err.strip()}")
    answer["version"] = out.splitlines()[0].replace("QEMU emulator version ", "")
    commands = ("qmp_capabilities", "query-commands", "quit")
    code, out, err = run_command(
        [path, "-nodefaults", "-no-user-config", "-machine", "none", "-display", "none", "-qmp", "stdio"],
        data="".join(json.dumps({"execute": command}) + "\n" for command in commands),
    )
    if code:
        return dict(answer, reason=f"{path} does not start: {err.strip()}")
    answer["smemv"] = "query-smemv" in _commands(out)
    if not answer["smemv"]:
        answer["reason"] = "the QEMU at {} ({}) has no split migration".format(path, answer["version"])
    return answer


def _commands(output):
    """Names of the commands that QEMU listed."""
    answers = [json.loads(line).get("return") for line in output.splitlines()]
    return {command["name"] for answer in answers if isinstance(answer, list) for command in answer}


def memserver(client=MemserverClient):
    """The memserver of this host, by its control socket: its STAT with ``running``, or {running: False, reason}."""
    try:
        with client() as connection:
            stat = connection.stat()
            return dict(stat, used_percent=_percent(stat["used"], stat["capacity"]), running=True, reason=None)
    except MemserverError as error:
        return {"running": False, "reason": str(error)}


def link(address, ip, run_command, net="/sys/class/net"):
    """The link that has an address of this host: {interface, speed (Mbit/s)}, each None where it cannot be told.

    :param ip: path of iproute2's command, or None where there is none.
    """
    answer = {"interface": None, "speed": None}
    code, out, _err = run_command([ip, "-json", "address", "show", "to", address]) if ip else (1, "", "")
    # Interfaces without that address are listed as well, empty.
    names = [] if code else [interface["ifname"] for interface in json.loads(out) if interface]
    if not names:
        return answer
    answer["interface"] = names[0]
    # The kernel refuses to tell it of some interfaces, and says -1 of others.
    with contextlib.suppress(OSError):
        speed = int(_read(net, names[0], "speed"))
        answer["speed"] = speed if speed > 0 else None
    return answer


def _percent(part, whole):
    return 100 * part // whole if whole else 0


def kvm():
    """Whether this host can run VMs under KVM."""
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def maintenance(path=_MAINTENANCE):
    """Why this host takes no VM and no session; None where it does."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip() or "no reason is given"
    except FileNotFoundError:
        return None
