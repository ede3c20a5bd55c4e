# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: to_bytes
short_description: Bytes of a size
version_added: 0.1.0
author:
  - The S-memV maintainers (@smemv)
description:
  - Reads a size as every option of this collection takes it.
  - A whole number and a unit are wanted, anything else is an error.
options:
  _input:
    description: A size such as V(512MiB); the units are B, KiB, MiB, GiB and TiB.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show it
  ansible.builtin.debug:
    msg: "{{ '512MiB' | smemv.kvm.to_bytes }}"
"""

RETURN = r"""
_value:
  description: The number of bytes.
  type: int
"""

from ansible.errors import AnsibleFilterError

from ansible_collections.smemv.kvm.plugins.module_utils.errors import SizeError
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import parse_size


def to_bytes(text):
    try:
        return parse_size(text)
    except SizeError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self):
        return {"to_bytes": to_bytes}
