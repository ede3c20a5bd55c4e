# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # What every module has that waits for QEMU.
    DOCUMENTATION = r"""
options:
  wait:
    description: Whether to wait until it is done.
    type: bool
    default: true
  timeout:
    description: How long to wait, in seconds. After that the task fails, and what was begun goes on.
    type: int
    default: 3600
  poll_interval:
    description: Seconds between two looks.
    type: float
    default: 2
  progress_interval:
    description:
      - Seconds between two lines that say how far it is, printed where the playbook runs; V(0) prints none, and
        neither does a task that is C(async) or does not wait.
    type: float
    default: 5
"""

    # The main of a VM moves.
    MOVE = r"""
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
  bandwidth:
    description: How much the migration may send to the destination in a second; V(0B) sets no limit.
    type: str
    default: 0B
  max_downtime:
    description: How long the VM may pause at the switch-over, in milliseconds.
    type: int
    default: 300
  on_stall:
    description:
      - What to do with a migration that stalls. It does where for 30 seconds the guest has dirtied nine tenths of what
        was sent, or more; or where nothing was sent.
      - V(fail) cancels it, and the VM runs on where it was.
      - V(throttle) has QEMU slow the VM's processors down, more and more, until it does not stall; QEMU begins that by
        itself, before the 30 seconds are over. It is decided when the migration begins, not by a run that attaches
        to it.
      - V(wait) says so and waits on, until O(timeout).
    type: str
    choices: [fail, throttle, wait]
    default: wait
  tls:
    description:
      - Whether the VM moves by TLS, to its destination and to memservers, with the certificates that the role
        P(smemv.kvm.pki#role) has given to its hosts. A VM that is split already speaks to memservers as it did before.
    type: bool
    default: true
"""

    # Where its memory is to be.
    LAYOUT = r"""
options:
  main_memory:
    description: How much guest memory may be resident on the main host, such as V(1GiB).
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
      failure_domain:
        description: What fails together with the host, such as its rack; without it nothing but the host itself.
        type: str
"""
