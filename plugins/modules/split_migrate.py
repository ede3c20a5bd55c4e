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
  - Splits a VM that is whole.
  - Runs on the host that the VM leaves. The destination waits for it already, by M(smemv.kvm.vm_incoming).
  - Run again while this very migration is under way, it attaches to it; when it is done, it changes nothing.
  - The role P(smemv.kvm.relocate#role) does all that belongs to it on the other hosts.
extends_documentation_fragment:
  - smemv.kvm.attributes
  - smemv.kvm.relocation
  - smemv.kvm.relocation.move
  - smemv.kvm.relocation.layout
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  policy:
    description:
      - Which pages go to the main host.
      - V(hot) are those that the guest is seen to use, the hottest first; V(threshold) those at the lowest addresses;
        V(random) any.
    type: str
    choices: [hot, threshold, random]
    default: hot
  sample_time:
    description:
      - With O(policy=hot), for how many seconds the guest's use of its pages is sampled before the first page is sent.
        The VM runs on meanwhile, at hardly less than its full speed.
      - Memory that is used once in a minute is found in some minutes, and not in a second.
      - From 4 to 30 seconds, by the VM's memory, if it is not given; with V(0) nothing is sampled.
    type: int
  seal:
    description:
      - Whether the main host encrypts pages before they go to sub-hosts, so that these store what they cannot read.
      - The key travels with the VM from main host to main host, which needs O(tls=true).
      - A VM that was split so stays so wherever it moves, until it is whole.
    type: bool
    default: false
  replicas:
    description:
      - On how many sub-hosts each page is that is not on the main host, each in another failure domain.
      - With V(2) the VM survives the loss of a sub-host. The shares have to be twice as large together, and no failure
        domain may have more than half of them.
      - A VM that was split so stays so wherever it moves, until it is whole.
    type: int
    choices: [1, 2]
    default: 1
  connections:
    description:
      - By how many connections the pages go to each sub-host while the VM is split.
      - More than V(1) is of use where the link is faster than one connection. With O(tls=true) that is as fast as a
        processor encrypts.
    type: int
    choices: [1, 2, 4, 8, 16]
    default: 1
seealso:
  - module: smemv.kvm.layout
  - module: smemv.kvm.remigrate
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
from ansible_collections.smemv.kvm.plugins.module_utils.arguments import MOVE, layout


def main():
    module = AnsibleModule(
        argument_spec={
            **MOVE,
            **layout(),
            "policy": {"type": "str", "choices": ["hot", "threshold", "random"], "default": "hot"},
            "sample_time": {"type": "int"},
            "seal": {"type": "bool", "default": False},
            "replicas": {"type": "int", "choices": [1, 2], "default": 1},
            "connections": {"type": "int", "choices": [1, 2, 4, 8, 16], "default": 1},
        },
        supports_check_mode=True,
    )
    move_task.run(module, "split_migrate")


if __name__ == "__main__":
    main()
