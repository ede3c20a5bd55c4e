#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_incoming
short_description: Have a host wait for a virtual machine from another host
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Starts a QEMU with the VM's configuration that waits for its state, and takes the VM over when it has come.
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
  state:
    description:
      - V(listening) starts a QEMU that waits for the VM; one that waits already is left as it is.
      - V(adopted) makes the VM that has come this host's own.
      - V(absent) ends the waiting, and leaves a VM of the host's own alone.
    type: str
    choices: [listening, adopted, absent]
    default: listening
  config:
    description: The VM's configuration, as M(smemv.kvm.vm_info) returns it on the host that it comes from.
    type: dict
  address:
    description: The address of this host to listen on.
    type: str
  first_port:
    description: The first TCP port to listen on; the first free one from here is taken.
    type: int
    default: 4780
  last_port:
    description: The last TCP port to listen on.
    type: int
    default: 4879
  tls:
    description: Whether the VM comes by TLS, with the certificates that the role P(smemv.kvm.pki#role) gives to hosts.
    type: bool
    default: true
seealso:
  - module: smemv.kvm.split_migrate
  - module: smemv.kvm.vm_release
"""

EXAMPLES = r"""
- name: Wait for a VM
  smemv.kvm.vm_incoming:
    name: big
    config: "{{ hostvars['host-1'].big.vms[0].config }}"
    address: "{{ smemv_address }}"
  register: incoming

- name: Take it over
  smemv.kvm.vm_incoming:
    name: big
    state: adopted
"""

RETURN = r"""
diff:
  description:
    - The VM on this host before and after, each with its C(state), V(absent) or as M(smemv.kvm.vm_info) tells it, and
      with C(adopted), whether it is the host's own.
  returned: always
  type: dict
address:
  description: The address listened on.
  returned: with O(state=listening)
  type: str
port:
  description: The TCP port listened on; none in check mode before anything listens.
  returned: with O(state=listening)
  type: int
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils import vm_transit
from ansible_collections.smemv.kvm.plugins.module_utils.errors import SmemvError
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import VmHost


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["listening", "adopted", "absent"], "default": "listening"},
            "config": {"type": "dict"},
            "address": {"type": "str"},
            "first_port": {"type": "int", "default": 4780},
            "last_port": {"type": "int", "default": 4879},
            "tls": {"type": "bool", "default": True},
        },
        required_if=[("state", "listening", ["config", "address"])],
        supports_check_mode=True,
    )
    params, check = module.params, module.check_mode
    vms = VmHost(module.run_command)
    try:
        if params["state"] == "adopted":
            module.exit_json(**vm_transit.adopt(vms, params["name"], check))
        if params["state"] == "absent":
            module.exit_json(**vm_transit.give_up(vms, params["name"], check))
        ports = params["first_port"], params["last_port"]
        module.exit_json(
            **vm_transit.listen(vms, params["name"], params["config"], params["address"], ports, params["tls"], check)
        )
    except SmemvError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
