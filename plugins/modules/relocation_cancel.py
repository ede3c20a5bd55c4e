#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: relocation_cancel
short_description: Cancel a relocation on the host that the virtual machine leaves
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Cancels the migration of a VM from this host, if one is under way, and waits until the VM runs on here again.
  - A migration that is complete cannot be cancelled, and stays so.
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
  destination_host:
    description: Cancel only what leads to this host.
    type: str
seealso:
  - module: smemv.kvm.split_migrate
"""

EXAMPLES = r"""
- name: Do not move it after all
  smemv.kvm.relocation_cancel:
    name: big
"""

RETURN = r"""
run_state:
  description: What QEMU is doing now, such as V(running) or V(postmigrate).
  returned: always
  type: str
progress:
  description:
    - V(none), V(under_way), V(completed), V(failed), V(cancelled), or V(fenced) where it may run at the destination.
  returned: always
  type: str
diff:
  description: C(progress) before and after.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils.errors import SmemvError
from ansible_collections.smemv.kvm.plugins.module_utils.relocation import Relocation
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import VmHost


def main():
    module = AnsibleModule(
        argument_spec={"name": {"type": "str", "required": True}, "destination_host": {"type": "str"}},
        supports_check_mode=True,
    )
    name, destination = module.params["name"], module.params["destination_host"]
    vms = VmHost(module.run_command)
    relocation = Relocation(lambda: vms.connect(name), name)
    try:
        first = last = relocation.observe()
        recorded = vms.recorded_relocation(name) or {}
        ours = destination in (None, recorded.get("destination_host"))
        changed = ours and last["progress"] == "under_way"
        if ours and not module.check_mode:
            last = relocation.cancel()
            if last["progress"] not in ("completed", "fenced"):
                vms.forget_relocation(name)
        after = "cancelled" if changed and module.check_mode else last["progress"]
        module.exit_json(
            changed=changed,
            run_state=last["run_state"],
            progress=last["progress"],
            diff={"before": {"progress": first["progress"]}, "after": {"progress": after}},
        )
    except SmemvError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
