# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share, as they stand in the doc fragment ``relocation``."""

from __future__ import annotations

WAITING = {
    "wait": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 3600},
    "poll_interval": {"type": "float", "default": 2},
    # For the action plugin with_progress.
    "progress_interval": {"type": "float", "default": 5},
}

MOVE = {
    "name": {"type": "str", "required": True},
    "destination_host": {"type": "str", "required": True},
    "destination_address": {"type": "str", "required": True},
    "destination_port": {"type": "int"},
    "bandwidth": {"type": "str", "default": "0B"},
    "max_downtime": {"type": "int", "default": 300},
    "on_stall": {"type": "str", "choices": ["fail", "throttle", "wait"], "default": "wait"},
    "tls": {"type": "bool", "default": True},
    **WAITING,
}


def layout(share_required=True):
    """How much stays on the main host, and what holds the rest."""
    return {
        "main_memory": {"type": "str", "required": True},
        "sub_hosts": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": {
                "name": {"type": "str", "required": True},
                "address": {"type": "str", "required": True},
                "port": {"type": "int", "default": 4770},
                "share": {"type": "int", "required": share_required},
                "failure_domain": {"type": "str"},
            },
        },
    }


def waiting(params):
    """(timeout, poll_interval), or None not to wait."""
    return (params["timeout"], params["poll_interval"]) if params["wait"] else None
