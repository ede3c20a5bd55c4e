#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: relocation_progress
short_description: Tell how far the relocation of a virtual machine is
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - One look at a VM that is being moved from this host, or whose memory is being placed anew here.
  - Changes nothing, and waits for nothing.
extends_documentation_fragment:
  - smemv.kvm.attributes
  - smemv.kvm.attributes.info
options:
  name:
    description: The VM's name.
    type: str
    required: true
seealso:
  - module: smemv.kvm.vm_info
"""

EXAMPLES = r"""
- name: See how far it is
  smemv.kvm.relocation_progress:
    name: big
  register: look
"""

RETURN = r"""
run_state:
  description:
    - What QEMU is doing then, such as V(running), or V(finish-migrate), also while it waits to learn who runs the VM.
  returned: when progress is not V(unknown)
  type: str
progress:
  description:
    - Of the migration from here, V(none), V(under_way), V(completed), V(failed), V(cancelled), or V(fenced) where the
      VM may run at the destination; V(unknown) where QEMU is too busy to answer.
  returned: always
  type: str
time:
  description: When that was, in seconds since 1970, by the host's clock.
  returned: always
  type: float
failure:
  description: A sentence for a migration that did not end well.
  returned: when progress is V(failed), V(cancelled) or V(fenced)
  type: str
migration:
  description: What QMP's C(query-migrate) tells.
  returned: when progress is not V(unknown)
  type: dict
memory:
  description: What QMP's C(query-smemv) tells; none for a QEMU without split migration.
  returned: when progress is not V(unknown)
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpError, QmpTimeout
from ansible_collections.smemv.kvm.plugins.module_utils.relocation import Relocation, describe_failure
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import VmHost


def main():
    module = AnsibleModule(argument_spec={"name": {"type": "str", "required": True}}, supports_check_mode=True)
    name = module.params["name"]
    vms = VmHost(module.run_command)
    try:
        last = Relocation(lambda: vms.connect(name), name).observe()
    except QmpTimeout:
        module.exit_json(changed=False, progress="unknown", time=time.time())
    except QmpError as error:
        module.fail_json(msg=f"the QEMU of VM {name} does not answer: {error}")
    result = {key: last[key] for key in ("run_state", "progress", "migration", "memory")}
    if last["progress"] in ("failed", "cancelled", "fenced"):
        result["failure"] = describe_failure(name, last)
    module.exit_json(changed=False, time=time.time(), **result)


if __name__ == "__main__":
    main()
