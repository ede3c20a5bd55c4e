#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_release
short_description: Remove what a virtual machine that has moved away left on a host
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Ends the process of a VM whose migration from this host is complete, and removes its unit and configuration here.
  - A VM that has not left is refused. Disks and the console log stay.
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
seealso:
  - module: smemv.kvm.vm_incoming
"""

EXAMPLES = r"""
- name: The VM runs on another host now
  smemv.kvm.vm_release:
    name: big
"""

RETURN = r"""
diff:
  description:
    - The VM on this host before and after, each with its C(state), V(absent) or as M(smemv.kvm.vm_info) tells it, and
      with C(adopted), whether it is the host's own.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils import vm_transit
from ansible_collections.smemv.kvm.plugins.module_utils.errors import SmemvError
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import VmHost


def main():
    module = AnsibleModule(argument_spec={"name": {"type": "str", "required": True}}, supports_check_mode=True)
    try:
        module.exit_json(**vm_transit.release(VmHost(module.run_command), module.params["name"], module.check_mode))
    except SmemvError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
