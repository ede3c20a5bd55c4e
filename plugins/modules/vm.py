#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm
short_description: Define, start, stop and remove a virtual machine on a host
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Keeps a virtual machine on the host that the task runs on, as a systemd unit C(smemv-vm-NAME.service).
  - The VM gets a pinned machine type and devices with addresses of their own, so that it comes out the same on each
    host that it moves to.
  - Its serial console is logged to C(/var/log/smemv/NAME.console.log) on the host where it runs.
  - The unit is not enabled. A VM that has moved away must not come up a second time when its former host boots.
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
      - V(running) defines the VM and starts it.
      - V(stopped) defines the VM and sees that it does not run.
      - V(absent) stops the VM and removes its configuration and unit. Its disks and its console log stay.
    type: str
    choices: [running, stopped, absent]
    default: running
  memory:
    description:
      - Guest memory, such as V(2GiB); a multiple of 1 MiB.
      - Required for a new VM. As with each option below, a VM that exists keeps what it has where none is given.
    type: str
  vcpus:
    description: Number of virtual CPUs. A new VM has 1 if none is given.
    type: int
  cpu:
    description: CPU model, as QEMU names it. A new VM has V(qemu64) if none is given, which every host can run.
    type: str
  accel:
    description: V(auto) is V(kvm) where the host has C(/dev/kvm) when the VM is defined, else V(tcg).
    type: str
    choices: [auto, kvm, tcg]
  disks:
    description: Disks, in order. To migrate, they have to be on storage that the hosts share.
    type: list
    elements: dict
    suboptions:
      path:
        description: The image, as an absolute path on the host.
        type: path
        required: true
      format:
        description: Format of the image.
        type: str
        choices: [raw, qcow2]
        default: raw
      readonly:
        description: Whether the guest may only read it.
        type: bool
        default: false
      cache:
        description: V(none) goes past the host's page cache, as a migration over shared storage wants it.
        type: str
        choices: [none, writeback]
        default: none
  nics:
    description: Network interfaces, in order.
    type: list
    elements: dict
    suboptions:
      type:
        description:
          - V(user) is a network inside QEMU.
          - V(tap) uses a tap device that exists on the host.
          - V(bridge) makes a tap device on a bridge of the host for as long as the VM is there.
        type: str
        choices: [user, tap, bridge]
        required: true
      mac:
        description: MAC address. Derived from the VM's name where none is given.
        type: str
      ifname:
        description: The tap device, for V(tap).
        type: str
      bridge:
        description: The bridge, for V(bridge).
        type: str
  balloon:
    description:
      - Whether the guest has a balloon device, by which it tells which memory it has free. That memory is neither moved
        nor stored when the VM is split, and what the guest gives back later is given back by its hosts too.
      - A new VM has one if nothing else is said.
    type: bool
  kernel:
    description: A kernel on the host that the VM boots directly.
    type: path
  initrd:
    description: Initial RAM disk for O(kernel).
    type: path
  append:
    description: Command line for O(kernel).
    type: str
  extra_args:
    description: Further words for QEMU's command line.
    type: list
    elements: str
  qemu:
    description:
      - The QEMU binary on the host.
      - A new VM has C(/opt/smemv/qemu/bin/qemu-system-x86_64), which the role P(smemv.kvm.qemu#role) installs.
    type: path
  main_memory:
    description:
      - How much of the guest memory of a VM that is split and runs here may be resident, such as V(1GiB).
      - Lowered, it has pages go out to the sub-hosts; raised, it has pages come in until there are nearly as many. Both
        go on after the task, and RV(smemv.kvm.vm_info#module:vms) shows how far they are.
      - The shares of the sub-hosts stay. M(smemv.kvm.rebalance) changes them.
    type: str
  bandwidth:
    description: How much may come in a second where O(main_memory) is raised; V(0B) sets no limit.
    type: str
    default: 0B
  shutdown_timeout:
    description: Seconds that the guest is given to power off before it is stopped; V(0) stops it at once.
    type: int
    default: 30
notes:
  - A running VM's configuration is not changed. Stop it first.
seealso:
  - module: smemv.kvm.vm_info
  - module: smemv.kvm.split_migrate
  - module: smemv.kvm.rebalance
"""

EXAMPLES = r"""
- name: A VM with a disk on shared storage
  smemv.kvm.vm:
    name: big
    memory: 64GiB
    vcpus: 8
    disks:
      - path: /srv/smemv/big.qcow2
        format: qcow2
    nics:
      - type: bridge
        bridge: br0

- name: More of a split VM may be here, and comes in slowly
  smemv.kvm.vm:
    name: big
    main_memory: 48GiB
    bandwidth: 200MiB

- name: No such VM here any more
  smemv.kvm.vm:
    name: big
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode, in words.
  returned: always
  type: list
  elements: str
  sample: [define, start]
diff:
  description: The VM on this host before and after, each with C(state) and C(config), and C(main_memory) in bytes if
    O(main_memory) is given.
  returned: always
  type: dict
config:
  description: The VM's whole configuration.
  returned: unless O(state=absent)
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils.errors import SmemvError
from ansible_collections.smemv.kvm.plugins.module_utils.vm_declare import declare
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import VmHost


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["running", "stopped", "absent"], "default": "running"},
            "memory": {"type": "str"},
            "vcpus": {"type": "int"},
            "cpu": {"type": "str"},
            "accel": {"type": "str", "choices": ["auto", "kvm", "tcg"]},
            "disks": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "path": {"type": "path", "required": True},
                    "format": {"type": "str", "choices": ["raw", "qcow2"], "default": "raw"},
                    "readonly": {"type": "bool", "default": False},
                    "cache": {"type": "str", "choices": ["none", "writeback"], "default": "none"},
                },
            },
            "nics": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "type": {"type": "str", "choices": ["user", "tap", "bridge"], "required": True},
                    "mac": {"type": "str"},
                    "ifname": {"type": "str"},
                    "bridge": {"type": "str"},
                },
            },
            "balloon": {"type": "bool"},
            "kernel": {"type": "path"},
            "initrd": {"type": "path"},
            "append": {"type": "str"},
            "extra_args": {"type": "list", "elements": "str"},
            "qemu": {"type": "path"},
            "main_memory": {"type": "str"},
            "bandwidth": {"type": "str", "default": "0B"},
            "shutdown_timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**declare(VmHost(module.run_command), module.params, module.check_mode))
    except SmemvError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
