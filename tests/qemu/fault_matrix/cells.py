# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix: a row a cell. docs/fault-matrix.md is made from it by tools/fault-table."""
SPLIT = "split migration"
REMIGRATE = "re-migration"
CONSOLIDATE = "consolidation"
REBALANCE = "change of sub-hosts"

BEFORE = "before"
MOVING = "while pages move"
SWITCH_OVER = "at the switch-over"
AFTER = "after"

SOURCE = "source"
DESTINATION = "destination"
NEW = "new sub-host"
LEFT = "sub-host that is left"
KEPT = "sub-host that stays"

KILLED = "SIGKILL"
CRASHED = "crash, back after 1 s with its pages"
STOPPED = "SIGSTOP for 5 s"
POWER = "power cut"
CUT = "link down for 5 s"
CUT_LONG = "link down for 15 s"
MUTE = "what it sends is lost for 5 s"
DEAF = "what is sent to it is lost for 5 s"
SLOW = "link of 2 Mbit/s for 5 s"
FINAL = (KILLED, POWER)

COMPLETES = "completes"
STAYS = "runs on at the source"
ENDS = "ends with its host"
