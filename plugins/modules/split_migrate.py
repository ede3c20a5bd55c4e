#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: split_migrate
short_description: Move a running virtual machine to a main host and sub-hosts
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Runs on the host that the VM leaves. The destination waits for it already, by M(smemv.kvm.vm_incoming).
  - Run again while this very migration is under way, it attaches to it; when it is done, it changes nothing.
  - The role P(smemv.kvm.relocate#role) does all that belongs to it on the other hosts.
extends_documentation_fragment:
  - smemv.kvm.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: The VM's name.
    type: str
    required: true
  destination_host:
    description: The name of the host that is to run the VM.
    type: str
    required: true
  destination_address:
    description: The address it waits on.
    type: str
    required: true
  destination_port:
    description: The TCP port it waits on. Needed except in check mode.
    type: int
  main_memory:
    description: How much guest memory may be resident on the destination, such as V(1GiB).
    type: str
    required: true
  sub_hosts:
    description: The hosts whose memservers hold the rest.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The host's name.
        type: str
        required: true
      address:
        description: The address of its memserver.
        type: str
        required: true
      port:
        description: The TCP port of its memserver.
        type: int
        default: 4770
      share:
        description: Bytes to reserve there, a multiple of the page.
        type: int
        required: true
  policy:
    description: Which pages go to the main host.
    type: str
    choices: [threshold]
    default: threshold
  bandwidth:
    description: How much the migration may send to the destination in a second; V(0B) sets no limit.
    type: str
    default: 0B
  max_downtime:
    description: How long the VM may pause at the switch-over, in milliseconds.
    type: int
    default: 300
  wait:
    description: Whether to wait until the migration is done.
    type: bool
    default: true
  timeout:
    description: How long to wait, in seconds. After that the task fails, and the migration goes on.
    type: int
    default: 3600
  poll_interval:
    description: Seconds between two looks at the migration.
    type: float
    default: 2
seealso:
  - module: smemv.kvm.layout
  - module: smemv.kvm.relocation_cancel
"""

EXAMPLES = r"""
- name: Split a VM over three hosts
  smemv.kvm.split_migrate:
    name: big
    destination_host: host-2
    destination_address: 198.18.0.2
    destination_port: "{{ incoming.port }}"
    main_memory: 1GiB
    sub_hosts:
      - name: host-3
        address: 198.18.0.3
        share: 603979776
      - name: host-4
        address: 198.18.0.4
        share: 603979776
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode, in words.
  returned: always
  type: list
  elements: str
  sample: [migrate]
destination_host:
  description: The host that runs the VM now, or is about to.
  returned: always
  type: str
status:
  description: The migration's status, as QEMU names it.
  returned: except in check mode
  type: str
duration:
  description: Seconds that the migration took.
  returned: when it is done
  type: float
downtime_ms:
  description: Milliseconds that the VM paused.
  returned: when it is done
  type: int
transferred:
  description: Bytes of memory that were sent to the destination.
  returned: when it is done
  type: int
sub_hosts:
  description: What was sent to each sub-host, as QMP's C(query-smemv) tells it.
  returned: when it is done
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils.errors import RelocationTimeout, SmemvError
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import parse_pages, parse_size
from ansible_collections.smemv.kvm.plugins.module_utils.split_migration import split_migrate
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import VmHost


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "destination_host": {"type": "str", "required": True},
            "destination_address": {"type": "str", "required": True},
            "destination_port": {"type": "int"},
            "main_memory": {"type": "str", "required": True},
            "sub_hosts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "address": {"type": "str", "required": True},
                    "port": {"type": "int", "default": 4770},
                    "share": {"type": "int", "required": True},
                },
            },
            "policy": {"type": "str", "choices": ["threshold"], "default": "threshold"},
            "bandwidth": {"type": "str", "default": "0B"},
            "max_downtime": {"type": "int", "default": 300},
            "wait": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 3600},
            "poll_interval": {"type": "float", "default": 2},
        },
        supports_check_mode=True,
    )
    params = module.params
    keys = ("destination_host", "destination_address", "destination_port", "sub_hosts", "policy", "max_downtime")
    try:
        target = {key: params[key] for key in keys}
        target["main_memory"] = parse_pages(params["main_memory"], "main_memory")
        target["bandwidth"] = parse_size(params["bandwidth"], "bandwidth")
        waiting = (params["timeout"], params["poll_interval"]) if params["wait"] else None
        module.exit_json(
            **split_migrate(VmHost(module.run_command), params["name"], target, waiting, module.check_mode)
        )
    except RelocationTimeout as error:
        module.fail_json(msg=str(error), last=error.last)
    except SmemvError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
