# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import Refused
from ansible_collections.smemv.kvm.plugins.module_utils.request import check_request, given

KVM_HOSTS = ["host-1", "host-2", "host-3", "host-4"]
REQUEST = {"vm": "big", "destination_host": "host-2", "sub_hosts": ["host-3", "host-4"], "main_memory": "1GiB"}
BAD_REQUESTS = [
    ({"main_memory": "1G"}, "request: main_memory '1G' is not a size"),
    ({"main_memory": "5000B"}, "request: main_memory 5000B is not a multiple of the page"),
    ({"destination_host": "host-9"}, "host-9: no host of that name is in the inventory's group kvm_hosts"),
    ({"sub_hosts": ["host-3", "host-8"]}, "host-8: no host of that name is in the inventory's group memservers"),
    ({"sub_hosts": []}, "request: sub_hosts names no host"),
    ({"sub_hosts": [], "main_memory": None}, "request: sub_hosts names no host"),
    ({"destination_host": None, "sub_hosts": ["host-8"]},
     "host-8: no host of that name is in the inventory's group memservers"),
    ({"main_memory": "all"}, "request: main_memory all leaves nothing for sub_hosts"),
    ({"sub_hosts": ["host-2", "host-3"]}, "host-2: is the destination and cannot be a sub-host too"),
    ({"sub_hosts": ["host-3", "host-3"]}, "host-3: is listed twice in sub_hosts"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD_REQUESTS)
def test_a_request_that_cannot_be(change, message):
    with pytest.raises(Refused, match=f"^{re.escape(message)}"):
        check_request({**REQUEST, **change}, KVM_HOSTS, KVM_HOSTS)


def test_every_reason_is_given_at_once():
    request = {"vm": "big", "destination_host": "host-9", "sub_hosts": ["host-9"], "main_memory": "much"}
    with pytest.raises(Refused) as refused:
        check_request(request, KVM_HOSTS, KVM_HOSTS)
    assert [who for who, _reason in refused.value.reasons] == ["request", "host-9", "host-9", "host-9"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"main_memory": "all", "sub_hosts": []},
        {"main_memory": "all", "sub_hosts": None},
        {"destination_host": None},
        {"sub_hosts": None},
        {"main_memory": None},
        {"destination_host": None, "sub_hosts": None, "main_memory": None},
    ],
)
def test_a_good_request_is_not_refused(change):
    check_request({**REQUEST, **change}, KVM_HOSTS, KVM_HOSTS)


def test_what_is_given_of_a_request():
    assert given(REQUEST) == {"destination_host": "host-2", "sub_hosts": ["host-3", "host-4"], "main_memory": 1 << 30}
    assert given({"vm": "big", "destination_host": None, "sub_hosts": None, "main_memory": None}) == {}
    # Then no sub-host is open.
    assert given({"vm": "big", "main_memory": "all"}) == {"main_memory": None, "sub_hosts": []}
