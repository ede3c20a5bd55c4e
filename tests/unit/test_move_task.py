# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.smemv.kvm.plugins.module_utils.errors import SizeError
from ansible_collections.smemv.kvm.plugins.module_utils.move_task import target

# What all of the modules have.
COMMON = {
    "destination_host": "host-2",
    "destination_address": "198.18.0.2",
    "destination_port": 4780,
    "max_downtime": 300,
    "on_stall": "wait",
    "tls": True,
}
PARAMS = {**COMMON, "name": "big", "bandwidth": "8MiB", "wait": True, "timeout": 5, "poll_interval": 2}
SUB_HOSTS = [{"name": "host-3", "address": "198.18.0.3", "port": 4770, "share": 1 << 30}]


def test_without_main_memory_all_of_it_goes_there():
    assert target(PARAMS) == {**COMMON, "main_memory": None, "sub_hosts": [], "bandwidth": 8 << 20}


def test_what_a_module_has_of_its_own_goes_along():
    own = {"sub_hosts": SUB_HOSTS, "policy": "hot", "sample_time": 5, "seal": True, "connections": 4}
    wanted = {**COMMON, **own, "main_memory": 1 << 30, "bandwidth": 8 << 20}
    assert target({**PARAMS, **own, "main_memory": "1GiB"}) == wanted


@pytest.mark.parametrize("option", ["main_memory", "bandwidth"])
def test_a_size_that_is_none_is_refused(option):
    with pytest.raises(SizeError, match=option):
        target({**PARAMS, option: "1G"})
