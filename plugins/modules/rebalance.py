#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rebalance
short_description: Place the remote memory of a running split virtual machine anew
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Runs on the host where the VM runs, and the VM runs on meanwhile.
  - Changes how much stays on the main host, which sub-hosts hold the rest, and how much each. A sub-host that is not
    listed any more is emptied straight into the others. With O(main_memory=all) everything is pulled in, and the VM is
    whole again.
  - Run again while that is under way, it waits for it; when it is done, it changes nothing.
extends_documentation_fragment:
  - smemv.kvm.attributes
  - smemv.kvm.relocation
  - smemv.kvm.relocation.layout
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
  main_memory:
    description: How much guest memory may be resident on the main host, such as V(1GiB); V(all) makes the VM whole.
  sub_hosts:
    description: The hosts whose memservers hold the rest; none with O(main_memory=all).
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
        description:
          - Bytes to reserve there, a multiple of the page.
          - Without it a sub-host that the VM has already keeps what it has.
        type: int
      failure_domain:
        description: What fails together with the host, such as its rack; without it nothing but the host itself.
        type: str
  bandwidth:
    description: How much may be copied and pulled in a second; V(0B) sets no limit.
    type: str
    default: 0B
seealso:
  - module: smemv.kvm.layout
  - module: smemv.kvm.remigrate
  - module: smemv.kvm.consolidate
"""

EXAMPLES = r"""
- name: Take the memory of a VM off host-3, and put it on host-4
  smemv.kvm.rebalance:
    name: big
    main_memory: 1GiB
    sub_hosts:
      - name: host-4
        address: 198.18.0.4
        share: 1207959552

- name: The main host has room for all of it again
  smemv.kvm.rebalance:
    name: big
    main_memory: all
    sub_hosts: []
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode, in words.
  returned: always
  type: list
  elements: str
  sample: [rebalance]
diff:
  description:
    - The placement before and after, each with C(main_memory), bytes of guest memory that may be resident on the main
      host, none for all of it, and C(sub_hosts), the bytes reserved on each by its name.
  returned: always
  type: dict
  contains:
    before:
      description: Where the memory was.
      type: dict
    after:
      description: Where it is now, or is to be.
      type: dict
memory:
  description: Where the VM's pages are, in bytes, as QMP's C(query-smemv) tells it.
  returned: except in check mode
  type: dict
samples:
  description: What was seen while it was waited for, a look each.
  returned: where O(progress_interval) is not V(0) and the task waits
  type: list
  elements: dict
  contains:
    time:
      description: When, in seconds of a clock of the controller.
      type: float
    status:
      description: The migration's status, as QEMU names it.
      type: str
    sent:
      description: Bytes sent so far to each host, by its name.
      type: dict
    remaining:
      description: Bytes left to be sent.
      type: int
    sent_rate:
      description: Bytes a second that were sent since the look before.
      type: int
    dirty_rate:
      description: Bytes a second that the guest dirtied.
      type: int
last:
  description: The last look at its memory; none where QEMU never answered.
  returned: where O(timeout) has passed
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils.arguments import WAITING, layout, waiting
from ansible_collections.smemv.kvm.plugins.module_utils.errors import RelocationTimeout, SmemvError
from ansible_collections.smemv.kvm.plugins.module_utils.rebalance import rebalance
from ansible_collections.smemv.kvm.plugins.module_utils.request import parse_main_memory
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import parse_size
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import VmHost


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "bandwidth": {"type": "str", "default": "0B"},
            **layout(share_required=False),
            **WAITING,
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        target = {
            "main_memory": parse_main_memory(params["main_memory"]),
            "sub_hosts": params["sub_hosts"],
            "bandwidth": parse_size(params["bandwidth"], "bandwidth"),
        }
        vms = VmHost(module.run_command)
        module.exit_json(**rebalance(vms, params["name"], target, waiting(params), module.check_mode))
    except RelocationTimeout as error:
        module.fail_json(msg=str(error), last=error.last)
    except SmemvError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
