#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: memserver_info
short_description: Tell what a host's memserver holds
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Asks the memserver of the host, over its local socket, for its capacity and its sessions.
extends_documentation_fragment:
  - smemv.kvm.attributes
  - smemv.kvm.attributes.info
options: {}
seealso:
  - module: smemv.kvm.memserver_session
"""

EXAMPLES = r"""
- name: Ask the memserver
  smemv.kvm.memserver_info:
  register: result

- name: Show those over 80 %
  ansible.builtin.debug:
    msg: "{{ inventory_hostname }} is nearly full"
  when: result.memserver.running and result.memserver.reserved > 0.8 * result.memserver.capacity
"""

RETURN = r"""
memserver:
  description: What the memserver says of itself.
  returned: always
  type: dict
  contains:
    running:
      description: Whether one answers.
      type: bool
    reason:
      description: Why none does.
      type: str
    version:
      description: Its version.
      type: str
    capacity:
      description: Bytes that it may hold.
      type: int
    reserved:
      description: Bytes that its sessions have reserved.
      type: int
    used:
      description: Bytes that it holds.
      type: int
    used_percent:
      description: How much of its capacity that is. Queries want it, since JMESPath cannot divide.
      type: int
    huge_pages:
      description: Whether it keeps them in huge pages that the host has set aside, and not in what the host has free.
      type: bool
    sessions:
      description: Its sessions, each with C(id), C(name), C(reserved), C(used), C(epoch) and C(connections).
      type: list
      elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils import host


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, memserver=host.memserver())


if __name__ == "__main__":
    main()
