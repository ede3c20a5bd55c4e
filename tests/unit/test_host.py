# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils import host
from ansible_collections.smemv.kvm.plugins.module_utils.errors import MemserverError
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import GIB, KIB, MIB


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))


@pytest.fixture
def machine(tmp_path):
    """Writes a /proc and a /sys/fs/cgroup; gives what memory() says of them."""
    meminfo = f"MemTotal: {8 * GIB // KIB} kB\nMemFree: 1 kB\nMemAvailable: {6 * GIB // KIB} kB\nHugePages_Total: 0\n"

    def ask(groups, files):
        write(tmp_path, {"proc/meminfo": meminfo, "proc/self/cgroup": groups})
        write(tmp_path / "cgroup", files)
        return host.memory(str(tmp_path / "proc"), str(tmp_path / "cgroup"))

    return ask


def test_memory_without_limits(machine):
    assert machine("0::/\n", {}) == {"total": 8 * GIB, "available": 6 * GIB}
    unlimited = {"a/memory.max": "max\n", "a/memory.current": 5, "a/memory.stat": ""}
    assert machine("0::/a/b\n", unlimited) == {"total": 8 * GIB, "available": 6 * GIB}


def test_the_tightest_limit_above_counts(machine):
    files = {
        "a/memory.max": 4 * GIB,
        "a/memory.current": 3 * GIB,
        "a/memory.stat": f"anon 1\ninactive_file {GIB}\n",
        "a/b/memory.max": 3 * GIB,
        "a/b/memory.current": 0,
        "a/b/memory.stat": "",
    }
    assert machine("0::/a/b/c\n", files) == {"total": 3 * GIB, "available": 2 * GIB}


def test_a_limit_of_the_first_version(machine):
    files = {
        "memory/a/memory.limit_in_bytes": GIB,
        "memory/a/memory.usage_in_bytes": 300 * MIB,
        "memory/a/memory.stat": f"inactive_file 1\ntotal_inactive_file {100 * MIB}\n",
        "memory/memory.limit_in_bytes": 9223372036854771712,
        "memory/memory.usage_in_bytes": 1,
        "memory/memory.stat": "",
    }
    assert machine("5:cpu:/a\n4:memory:/a\n", files) == {"total": GIB, "available": GIB - 200 * MIB}


def test_a_group_over_its_limit_has_nothing(machine):
    files = {"memory.max": GIB, "memory.current": 2 * GIB, "memory.stat": ""}
    assert machine("0::/\n", files)["available"] == 0


def commands(*names):
    listed = {"return": [{"name": name} for name in names]}
    return "\n".join(json.dumps(line) for line in ({"QMP": {}}, {"return": {}}, listed, {"return": {}}))


@pytest.fixture
def qemu(tmp_path):
    """Asks about a QEMU binary that prints so."""
    path = tmp_path / "qemu"
    path.touch(mode=0o755)
    version = "QEMU emulator version 10.0.13 (smemv-0123456789ab)\nCopyright\n"

    def ask(output, code=0, error=""):
        def run_command(words, data=None):
            if words[1] == "--version":
                return 0, version, ""
            assert '{"execute": "query-commands"}' in data
            return code, output, error

        return host.qemu(str(path), run_command)

    return ask


def test_a_qemu_that_can_split(qemu):
    answer = qemu(commands("quit", "query-smemv"))
    assert answer["smemv"] is True
    assert answer["reason"] is None
    assert answer["version"] == "10.0.13 (smemv-0123456789ab)"


def test_a_qemu_that_cannot(qemu):
    answer = qemu(commands("quit"))
    assert answer["smemv"] is False
    assert answer["reason"].endswith("(10.0.13 (smemv-0123456789ab)) has no split migration")


def test_a_qemu_that_does_not_start(qemu):
    assert qemu("", 1, "no library\n")["reason"].endswith("does not start: no library")


def test_no_qemu(tmp_path):
    answer = host.qemu(str(tmp_path / "none"), None)
    assert (answer["present"], answer["smemv"]) == (False, False)
    assert answer["reason"].startswith("there is no QEMU at")


def test_the_kernel_itself_is_asked_about_userfaultfd():
    answer = host.userfaultfd()
    assert answer["move"] == bool(answer["features"] & host.UFFD_FEATURE_MOVE)
    assert (answer["reason"] is None) == answer["move"]


def test_a_kernel_without_userfaultfd(monkeypatch):
    def refuse():
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(host, "_userfaultfd_open", refuse)
    answer = host.userfaultfd()
    assert answer["available"] is False
    assert answer["reason"] == "userfaultfd cannot be opened: Operation not permitted"


def test_a_kernel_without_move(monkeypatch):
    def old_kernel(_descriptor, _request, answer):
        answer[8:16] = (0x1FF).to_bytes(8, "little")

    monkeypatch.setattr(host, "_userfaultfd_open", lambda: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(host.fcntl, "ioctl", old_kernel)
    answer = host.userfaultfd()
    assert (answer["available"], answer["move"], answer["features"]) == (True, False, 0x1FF)
    assert "has no UFFDIO_MOVE" in answer["reason"]


def test_a_memserver_that_is_not_there():
    class Away:
        def __enter__(self):
            raise MemserverError("no memserver answers")

        def __exit__(self, *exception):
            raise AssertionError

    assert host.memserver(Away) == {"running": False, "reason": "no memserver answers"}


def test_maintenance_is_a_file_with_the_reason(tmp_path):
    mark = tmp_path / "maintenance"
    assert host.maintenance(str(mark)) is None
    mark.write_text("new disks\n")
    assert host.maintenance(str(mark)) == "new disks"
    mark.write_text("")
    assert host.maintenance(str(mark)) == "no reason is given"


IP = json.dumps([{}, {"ifname": "eth1", "addr_info": [{"local": "198.18.0.2"}]}])


@pytest.mark.parametrize(
    ("answer", "speed", "link"),
    [
        ((0, IP, ""), "25000\n", {"interface": "eth1", "speed": 25000}),
        ((0, IP, ""), "-1\n", {"interface": "eth1", "speed": None}),
        ((0, IP, ""), None, {"interface": "eth1", "speed": None}),
        ((0, "[]", ""), "25000\n", {"interface": None, "speed": None}),
        ((1, "", "Error: any valid prefix is expected"), "25000\n", {"interface": None, "speed": None}),
    ],
)
def test_the_link_of_an_address(tmp_path, answer, speed, link):
    asked = []

    def run_command(words):
        asked.append(words)
        return answer

    write(tmp_path, {"eth1/speed": speed} if speed else {})
    assert host.link("198.18.0.2", "/usr/sbin/ip", run_command, str(tmp_path)) == link
    assert asked == [["/usr/sbin/ip", "-json", "address", "show", "to", "198.18.0.2"]]


def test_a_link_without_the_command_to_ask():
    assert host.link("198.18.0.2", None, None) == {"interface": None, "speed": None}
