#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_info
short_description: Tell which virtual machines a host has and where their memory is
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Tells what the host knows of its VMs, with what their QEMU says of state, memory and migration.
extends_documentation_fragment:
  - smemv.kvm.attributes
  - smemv.kvm.attributes.info
options:
  name:
    description: Tell of this VM only.
    type: str
  regions:
    description:
      - Tell of the memory of each VM that runs in so many equal parts, at most 256, by their addresses.
      - Takes longer the more memory the VMs have.
    type: int
    default: 0
seealso:
  - module: smemv.kvm.vm
"""

EXAMPLES = r"""
- name: Ask for all VMs of the host
  smemv.kvm.vm_info:
  register: result

- name: Show those that run here with pages on host-3
  ansible.builtin.debug:
    msg: "{{ result.vms | json_query('[?memory.sub_hosts[?name == `host-3` && remote > `0`]].name') }}"
"""

RETURN = r"""
vms:
  description: The VMs that the host has, by name.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The VM's name.
      type: str
    state:
      description:
        - V(running), V(stopped), V(paused), V(incoming) (expected from another host), V(moved) (gone to another host,
          its process still here), V(unresponsive), or another run state of QEMU.
      type: str
    reason:
      description: Why it is unresponsive.
      type: str
    adopted:
      description: Whether the VM is this host's own; not while it is expected here.
      type: bool
    config:
      description: Its configuration, as the options of M(smemv.kvm.vm).
      type: dict
    console:
      description: The log of its serial console.
      type: str
    qemu:
      description: C(version) and C(package) of its QEMU, and whether that can split a VM, C(smemv).
      type: dict
    memory:
      description:
        - Where its pages are, in bytes, as QMP's C(query-smemv) tells it; none for a QEMU without split migration.
        - With C(replicas) 2 each page on sub-hosts has two copies, but for C(single) bytes, which have one. A sub-host
          that was found to be lost is C(failed).
      type: dict
    regions:
      description:
        - Where its pages are by their addresses, in bytes, as QMP's C(query-smemv-map) tells it, for O(regions).
        - In each part C(size), C(resident), C(zero) and, for each sub-host of RV(vms[].memory), C(remote).
        - C(used) is what the guest was seen to use, while it is split by the policy V(hot), and afterwards on the host
          that it has left.
      returned: where O(regions) is given, the VM runs, and its QEMU can split it
      type: list
      elements: dict
    migration:
      description: What QMP's C(query-migrate) tells.
      type: dict
    relocation:
      description: Where it is moving to, while it is.
      type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils.errors import SmemvError
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import VmHost


def main():
    module = AnsibleModule(
        argument_spec={"name": {"type": "str"}, "regions": {"type": "int", "default": 0}}, supports_check_mode=True
    )
    vms = VmHost(module.run_command)
    try:
        names = [module.params["name"]] if module.params["name"] else vms.names()
        found = [vms.describe(name, module.params["regions"]) for name in names]
        module.exit_json(changed=False, vms=[machine for machine in found if machine is not None])
    except SmemvError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
