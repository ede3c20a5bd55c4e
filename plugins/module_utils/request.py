# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of a relocation, and what of it can be judged without asking any host. Pure."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused, SizeError
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import parse_pages

# The word for a main host that holds all of the VM's memory.
ALL = "all"
# For what a host with this name cannot be blamed for.
REQUEST = "request"


def parse_main_memory(text):
    """Bytes of guest memory that may be resident on the main host; None for all. Raises SizeError."""
    return None if text == ALL else parse_pages(text, "main_memory")


def given(request):
    """What a request gives of destination_host, main_memory (bytes, None for all) and sub_hosts; the rest is open.

    :param request: as for check_request().
    :raises SizeError: where main_memory is no size.
    """
    wanted = {key: request[key] for key in ("destination_host", "sub_hosts") if request.get(key) is not None}
    if request.get("main_memory") is not None:
        wanted["main_memory"] = parse_main_memory(request["main_memory"])
        if wanted["main_memory"] is None:
            wanted.setdefault("sub_hosts", [])
    return wanted


def check_request(request, kvm_hosts, memservers):
    """Refuse what can be seen without asking any host.

    :param request: {vm, destination_host, sub_hosts: [name], main_memory: text}, of which all but the VM may be None:
        that is for the planner to choose.
    :param kvm_hosts, memservers: names of the hosts in these groups of the inventory.
    :raises Refused: with every reason found.
    """
    reasons = []
    main_memory = 0
    try:
        if request["main_memory"] is not None:
            main_memory = parse_main_memory(request["main_memory"])
    except SizeError as error:
        reasons.append((REQUEST, str(error)))
    destination, sub_hosts = request["destination_host"], request["sub_hosts"]
    if destination is not None and destination not in kvm_hosts:
        reasons.append((destination, "no host of that name is in the inventory's group kvm_hosts"))
    if main_memory is None and sub_hosts:
        reasons.append((REQUEST, "main_memory all leaves nothing for sub_hosts"))
    if main_memory is not None and sub_hosts == []:
        reasons.append((REQUEST, "sub_hosts names no host"))
    for host in sorted(set(sub_hosts or [])):
        if host not in memservers:
            reasons.append((host, "no host of that name is in the inventory's group memservers"))
        if host == destination:
            reasons.append((host, "is the destination and cannot be a sub-host too"))
        if sub_hosts.count(host) > 1:
            reasons.append((host, "is listed twice in sub_hosts"))
    if reasons:
        raise Refused(reasons)
