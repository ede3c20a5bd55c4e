#!/usr/bin/python
# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: memserver_session
short_description: End the sessions that a VM left behind on a memserver
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Ends every session of a VM on the memserver of the host, except those to keep, and frees their memory.
  - For a VM that is whole, or gone. Ending the session of a split VM takes its memory away.
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
  vm:
    description: The VM's name.
    type: str
    required: true
  state:
    description: Sessions can only be ended here; QEMU makes them.
    type: str
    choices: [absent]
    default: absent
  keep:
    description: Ids of sessions that stay.
    type: list
    elements: str
    default: []
seealso:
  - module: smemv.kvm.memserver_info
"""

EXAMPLES = r"""
- name: Free what a VM that no longer exists has left here
  smemv.kvm.memserver_session:
    vm: big
"""

RETURN = r"""
closed:
  description: Ids of the sessions that were ended.
  returned: always
  type: list
  elements: str
diff:
  description: The ids of the VM's sessions before and after, as C(sessions).
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smemv.kvm.plugins.module_utils.errors import SmemvError
from ansible_collections.smemv.kvm.plugins.module_utils.memserver import MemserverClient


def main():
    module = AnsibleModule(
        argument_spec={
            "vm": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["absent"], "default": "absent"},
            "keep": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        with MemserverClient() as memserver:
            there = [
                session["id"] for session in memserver.stat()["sessions"] if session["name"] == module.params["vm"]
            ]
            left = [session_id for session_id in there if session_id not in module.params["keep"]]
            if not module.check_mode:
                for session_id in left:
                    memserver.close_session(session_id)
        after = [session_id for session_id in there if session_id not in left]
        module.exit_json(
            changed=bool(left), closed=left, diff={"before": {"sessions": there}, "after": {"sessions": after}}
        )
    except SmemvError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
