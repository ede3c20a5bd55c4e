# SPDX-License-Identifier: GPL-3.0-or-later
"""The queries of docs/queries.md, as they stand there."""

import pathlib
import re

import jmespath
import pytest
from ansible_collections.smemv.kvm.plugins.module_utils import host

TEXT = (pathlib.Path(__file__).parents[2] / "docs/queries.md").read_text()


def vm(name, **remote):
    sub_hosts = [{"name": host.replace("_", "-"), "remote": count} for host, count in remote.items()]
    return {"name": name, "memory": {"sub_hosts": sub_hosts}}


def query(beginning):
    (found,) = [text for text in re.findall(r"```\n(.*?)\n```", TEXT, re.DOTALL) if text.startswith(beginning)]
    return found


def test_vms_with_pages_on_a_host():
    vms = [
        vm("there", host_2=4096, host_3=4096),
        vm("elsewhere", host_2=4096),
        vm("empty-there", host_3=0),
        vm("whole"),
        {"name": "stock-qemu", "memory": None},
        {"name": "unresponsive"},
    ]
    assert jmespath.search(query("vms["), {"vms": vms}) == ["there"]


class Client:
    """A memserver's answer, without the memserver."""

    def __init__(self, used, capacity):
        self._stat = {"used": used, "capacity": capacity}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def stat(self):
        return self._stat


@pytest.mark.parametrize(("used", "capacity", "found"), [(90, 100, True), (80, 100, False), (0, 0, False)])
def test_memservers_that_are_nearly_full(used, capacity, found):
    answer = {"memserver": host.memserver(lambda: Client(used, capacity))}
    hosts = [{"host": "host-3", "answer": answer}, {"host": "unreachable"}]
    assert jmespath.search(query("[?answer"), hosts) == (["host-3"] if found else [])
