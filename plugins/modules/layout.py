#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: layout
short_description: Plan where the memory of a virtual machine goes
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Judges a relocation by what the hosts say of themselves, chooses what it leaves open of main host, main memory and
    sub-hosts, and plans how much goes to which sub-host.
  - A VM that is placed as far as the request says how, or is on its way there, is left to that; nothing is chosen anew.
  - Changes nothing, and asks no host. It runs on the controller.
  - Refuses a relocation that cannot be, with every reason and the host that it is about.
extends_documentation_fragment:
  - smemv.kvm.attributes
  - smemv.kvm.attributes.info
options:
  vm:
    description: The VM's name.
    type: str
    required: true
  destination_host:
    description:
      - The host that is to run the VM.
      - Without it the host that runs it, where only its memory is to be placed anew; else the one that can have most
        of its memory, then the one that wants the fewest sub-hosts, has the fastest link, has most memory free.
    type: str
  sub_hosts:
    description:
      - The hosts whose memservers are to hold the rest of its memory; none with O(main_memory=all).
      - Without it those that the VM has, and as few others as have the room. Of these those with the fastest links,
        then in different failure domains, then with the most room.
    type: list
    elements: str
  main_memory:
    description:
      - How much guest memory may be resident on the destination, such as V(1GiB), or V(all).
      - Without it the VM is to be split, and has there what it has now, or else as much as the host can spare.
    type: str
  replicas:
    description:
      - On how many sub-hosts each page is to be that is not on the main host, in different failure domains.
      - Without it V(1), or what the VM was split with, which cannot change while it is split.
    type: int
    choices: [1, 2]
  seal:
    description: Whether its pages are to be sealed, for which the main host has tags to keep.
    type: bool
    default: false
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
      - By host, what M(smemv.kvm.host_info) returned there, with the host's C(address) and C(memserver_port), and its
        C(failure_domain) if it is known; or C(unreachable) with the reason.
      - Without it only the request itself is judged.
    type: dict
"""

EXAMPLES = r"""
- name: See whether the request makes sense
  smemv.kvm.layout:
    vm: big
    destination_host: host-2
    sub_hosts: [host-3, host-4]
    main_memory: 1GiB
    kvm_hosts: "{{ groups['kvm_hosts'] }}"
    memservers: "{{ groups['memservers'] }}"
  delegate_to: localhost

- name: See where a VM could be split to
  smemv.kvm.layout:
    vm: big
    kvm_hosts: "{{ groups['kvm_hosts'] }}"
    memservers: "{{ groups['memservers'] }}"
    hosts: "{{ answers }}"
  delegate_to: localhost
"""

RETURN = r"""
plan:
  description: What is to be done.
  returned: when O(hosts) is given
  type: dict
  contains:
    phase:
      description:
        - V(start) from the beginning, V(attach) to this very migration that is under way, V(finish) what is left to be
          tidied up behind one, V(rebalance) the memory of a VM that is on the destination, or V(done), nothing.
      type: str
    operation:
      description: V(split_migrate), V(remigrate), V(consolidate) or V(rebalance), the module that does it.
      type: str
    source_host:
      description: The host that runs the VM now.
      type: str
    destination_host:
      description: The host that is to run the VM.
      type: str
    main_memory:
      description: Bytes of guest memory that may be resident there; none for all of it.
      type: int
    sub_hosts:
      description:
        - The sub-hosts, each with C(name), C(address), C(port), C(failure_domain) and C(share) in bytes; none where it
          keeps what it has.
      type: list
      elements: dict
    replicas:
      description: On how many of them each page is, or is to be.
      type: int
    config:
      description: The VM's configuration.
      type: dict
    leftovers:
      description: Hosts that still have files or a process of the VM, which has left them or never came.
      type: list
      elements: str
    reasons:
      description: Why what the request leaves open is chosen so, and what each host lacks that cannot take part.
      type: list
      elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils import preflight
from ansible_collections.smemv.kvm.plugins.module_utils.errors import SmemvError
from ansible_collections.smemv.kvm.plugins.module_utils.request import check_request


def main():
    module = AnsibleModule(
        argument_spec={
            "vm": {"type": "str", "required": True},
            "destination_host": {"type": "str"},
            "sub_hosts": {"type": "list", "elements": "str"},
            "main_memory": {"type": "str"},
            "replicas": {"type": "int", "choices": [1, 2]},
            "seal": {"type": "bool", "default": False},
            "kvm_hosts": {"type": "list", "elements": "str", "required": True},
            "memservers": {"type": "list", "elements": "str", "required": True},
            "hosts": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        check_request(params, params["kvm_hosts"], params["memservers"])
        if params["hosts"] is None:
            module.exit_json(changed=False)
        plan = preflight.plan(params, params["hosts"], params["kvm_hosts"], params["memservers"])
        module.exit_json(changed=False, plan=plan)
    except SmemvError as error:
        module.fail_json(msg=f"VM {params['vm']} is not touched: {error}")


if __name__ == "__main__":
    main()
