#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consolidate
short_description: Move a virtual machine to one host that holds all of its memory
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - After the switch-over the destination pulls what is on sub-hosts straight from them, and lets them go.
    M(smemv.kvm.rebalance) on the destination waits for that.
  - A VM that is whole already moves by an ordinary migration.
  - Where the VM is to stay on its main host, M(smemv.kvm.rebalance) alone pulls its memory in.
  - Runs on the host that the VM leaves. The destination waits for it already, by M(smemv.kvm.vm_incoming).
  - Run again while this very migration is under way, it attaches to it; when it is done, it changes nothing.
  - The role P(smemv.kvm.relocate#role) does all that belongs to it on the other hosts.
extends_documentation_fragment:
  - smemv.kvm.attributes
  - smemv.kvm.relocation
  - smemv.kvm.relocation.move
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: smemv.kvm.rebalance
  - module: smemv.kvm.relocation_cancel
"""

EXAMPLES = r"""
- name: Bring a VM back onto one host
  smemv.kvm.consolidate:
    name: big
    destination_host: host-1
    destination_address: 198.18.0.1
    destination_port: "{{ incoming.port }}"
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode, in words.
  returned: always
  type: list
  elements: str
  sample: [migrate]
diff:
  description:
    - The placement before and after, each with C(main_host), before a move as that host calls itself,
      C(main_memory), bytes of guest memory that may be resident there, none for all of it, and C(sub_hosts), the
      bytes reserved on each by its name.
  returned: always
  type: dict
  contains:
    before:
      description: Where the memory was.
      type: dict
    after:
      description: Where it is now, or is to be.
      type: dict
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
  description: The last look at it, as M(smemv.kvm.relocation_progress) returns it; none where QEMU never answered.
  returned: where O(timeout) has passed
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils import move_task
from ansible_collections.smemv.kvm.plugins.module_utils.arguments import MOVE


def main():
    module = AnsibleModule(
        argument_spec=MOVE,
        supports_check_mode=True,
    )
    move_task.run(module, "consolidate")


if __name__ == "__main__":
    main()
