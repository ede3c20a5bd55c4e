# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules split_migrate, remigrate and consolidate do once their options are read."""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils.arguments import waiting
from ansible_collections.smemv.kvm.plugins.module_utils.errors import RelocationTimeout, SmemvError
from ansible_collections.smemv.kvm.plugins.module_utils.move import move
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import parse_pages, parse_size
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import VmHost

_KEYS = (
    "destination_host",
    "destination_address",
    "destination_port",
    "max_downtime",
    "on_stall",
    "tls",
    "policy",
    "sample_time",
    "seal",
    "replicas",
    "connections",
)


def target(params):
    """Where the VM is to be, as for Relocation.start(): without main_memory all of it is to be there. Raises SizeError.

    :param params: of one of these modules.
    """
    main_memory = params.get("main_memory")
    return {
        **{key: params[key] for key in _KEYS if key in params},
        "main_memory": None if main_memory is None else parse_pages(main_memory, "main_memory"),
        "sub_hosts": params.get("sub_hosts", []),
        "bandwidth": parse_size(params["bandwidth"], "bandwidth"),
    }


def run(module, operation):
    """Do it and exit, well or not.

    :param module: an AnsibleModule.
    :param operation: its name.
    """
    params = module.params
    try:
        vms = VmHost(module.run_command)
        result = move(vms, operation, params["name"], target(params), waiting(params), module.check_mode, module.warn)
    except RelocationTimeout as error:
        module.fail_json(msg=str(error), last=error.last)
    except SmemvError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)
