#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Tell what a host has of what a split VM wants
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Asks the host's kernel, its QEMU and its memserver what they can do, and tells which VMs are there.
  - Whether the kernel can move pages is asked from the kernel itself, not read off its version.
extends_documentation_fragment:
  - smemv.kvm.attributes
  - smemv.kvm.attributes.info
options:
  qemu:
    description: The QEMU binary that a VM coming here would be run by.
    type: path
    default: /opt/smemv/qemu/bin/qemu-system-x86_64
  address:
    description: The host's address for VMs and their memory, whose link is told of.
    type: str
seealso:
  - module: smemv.kvm.layout
"""

EXAMPLES = r"""
- name: Ask the host
  smemv.kvm.host_info:
  register: result

- name: Show its free memory
  ansible.builtin.debug:
    var: result.memory.available
"""

RETURN = r"""
kernel:
  description: The kernel's version.
  returned: always
  type: str
userfaultfd:
  description:
    - Whether userfaultfd is C(available), whether it can C(move) pages, its C(features), and the C(reason) if not.
  returned: always
  type: dict
memory:
  description: Bytes of memory, C(total) and C(available), control groups' limits taken into account.
  returned: always
  type: dict
kvm:
  description: Whether the host can run VMs under KVM.
  returned: always
  type: bool
link:
  description:
    - The C(interface) that has O(address), and the C(speed) of its link in Mbit/s; none where it cannot be told.
  returned: always, but none without O(address)
  type: dict
qemu:
  description:
    - The C(path) of the QEMU binary, whether it is C(present), its C(version), whether it can split a VM, C(smemv), and
      the C(reason) if not.
  returned: always
  type: dict
memserver:
  description: As M(smemv.kvm.memserver_info) returns it.
  returned: always
  type: dict
maintenance:
  description: Why the host takes no VM and no session, as C(/etc/smemv/maintenance) says; none where it does.
  returned: always
  type: str
vms:
  description: As M(smemv.kvm.vm_info) returns it.
  returned: always
  type: list
  elements: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils import host
from ansible_collections.smemv.kvm.plugins.module_utils.errors import SmemvError
from ansible_collections.smemv.kvm.plugins.module_utils.vm import QEMU
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import VmHost


def main():
    module = AnsibleModule(
        argument_spec={"qemu": {"type": "path", "default": QEMU}, "address": {"type": "str"}},
        supports_check_mode=True,
    )
    address = module.params["address"]
    vms = VmHost(module.run_command)
    try:
        found = [vms.describe(name) for name in vms.names()]
        module.exit_json(
            changed=False,
            kernel=os.uname().release,
            userfaultfd=host.userfaultfd(),
            memory=host.memory(),
            kvm=host.kvm(),
            qemu=host.qemu(module.params["qemu"], module.run_command),
            memserver=host.memserver(),
            maintenance=host.maintenance(),
            vms=[machine for machine in found if machine is not None],
            link=host.link(address, module.get_bin_path("ip"), module.run_command) if address else None,
        )
    except SmemvError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
