#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: evacuation_plan
short_description: Plan how a host is emptied of virtual machines and their memory
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Finds for each VM that runs on a host, or has pages there, where it goes, by what the hosts say of themselves.
  - Changes nothing, and asks no host. It runs on the controller.
  - Refuses where something cannot go elsewhere, with every reason and the host that it is about.
extends_documentation_fragment:
  - smemv.kvm.attributes
  - smemv.kvm.attributes.info
options:
  host:
    description: The host that is to be emptied.
    type: str
    required: true
  vms:
    description: Whether the VMs that run there move away; else only the memory that its memserver holds does.
    type: bool
    default: true
  kvm_hosts:
    description: Names of the hosts that can run VMs.
    type: list
    elements: str
    required: true
  memservers:
    description: Names of the hosts with a memserver.
    type: list
    elements: str
    required: true
  hosts:
    description:
      - By host, what M(smemv.kvm.host_info) returned there, with the host's C(address) and C(memserver_port); or
        C(unreachable) with the reason.
    type: dict
    required: true
seealso:
  - module: smemv.kvm.layout
"""

EXAMPLES = r"""
- name: See where everything on host-3 could go
  smemv.kvm.evacuation_plan:
    host: host-3
    kvm_hosts: "{{ groups['kvm_hosts'] }}"
    memservers: "{{ groups['memservers'] }}"
    hosts: "{{ answers }}"
  delegate_to: localhost
"""

RETURN = r"""
requests:
  description:
    - What is to be done, one after another. Each has C(vm), C(destination_host), C(main_memory) and C(sub_hosts), as
      M(smemv.kvm.layout) takes them, and C(hosts), those that take part. Where only pages move, the destination is
      the host that the VM runs on.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils.errors import SmemvError
from ansible_collections.smemv.kvm.plugins.module_utils.evacuation import evacuate


def main():
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "vms": {"type": "bool", "default": True},
            "kvm_hosts": {"type": "list", "elements": "str", "required": True},
            "memservers": {"type": "list", "elements": "str", "required": True},
            "hosts": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        requests = evacuate(params["host"], params["hosts"], params["kvm_hosts"], params["memservers"], params["vms"])
        module.exit_json(changed=False, requests=requests)
    except SmemvError as error:
        module.fail_json(msg=f"{params['host']} is not emptied: {error}")


if __name__ == "__main__":
    main()
