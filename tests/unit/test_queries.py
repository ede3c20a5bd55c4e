# SPDX-License-Identifier: GPL-3.0-or-later
"""The queries of docs/queries.md, as they stand there."""

import pathlib
import re

import jmespath

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
