# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of docs/fault-matrix.md, and the words in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).resolve().parents[3] / "docs" / "fault-matrix.md"

SPLIT = "split migration"
REMIGRATE = "re-migration"
CONSOLIDATE = "consolidation"
REBALANCE = "change of sub-hosts"
OPERATIONS = (SPLIT, REMIGRATE, CONSOLIDATE, REBALANCE)

BEFORE = "before"
MOVING = "while pages move"
SWITCH_OVER = "at the switch-over"
AFTER = "after"
WHENS = (BEFORE, MOVING, SWITCH_OVER, AFTER)

SOURCE = "source"
DESTINATION = "destination"
NEW = "new sub-host"
LEFT = "sub-host that is left"
KEPT = "sub-host that stays"
MAIN_HOSTS = (SOURCE, DESTINATION)
PARTIES = (*MAIN_HOSTS, NEW, LEFT, KEPT)

KILLED = "SIGKILL"
CRASHED = "crash, back after 1 s with its pages"
STOPPED = "SIGSTOP for 5 s"
POWER = "power cut"
CUT = "link down for 5 s"
CUT_LONG = "link down for 15 s"
MUTE = "what it sends is lost for 5 s"
DEAF = "what is sent to it is lost for 5 s"
SLOW = "link of 2 Mbit/s for 5 s"
FULL = "memory full for 5 s"
EXPIRED = "certificate expired for 5 s"
HOWS = (KILLED, CRASHED, STOPPED, POWER, CUT, CUT_LONG, MUTE, DEAF, SLOW, FULL, EXPIRED)
FINAL = (KILLED, POWER)

COMPLETES = "completes"
STAYS = "runs on at the source"
EITHER = f"{COMPLETES}, or {STAYS}"
KEEPS = "keeps the sub-hosts that it had"
ENDS = "ends with its host"
OUTCOMES = (COMPLETES, STAYS, EITHER, KEEPS, ENDS)


@dataclass(frozen=True)
class Cell:
    """Who fails in which operation, when and how; what comes of it; and whether it is tried at night alone."""

    operation: str
    when: str
    who: str
    how: str
    outcome: str
    nightly: bool

    def __str__(self) -> str:
        return f"{self.operation}, {self.when}, {self.who}: {self.how}"

    @property
    def replicas(self) -> int:
        """Copies of each page: a sub-host that is lost for good would else take the VM along."""
        return 2 if self.how == POWER and self.who not in MAIN_HOSTS else 1


def read() -> list[Cell]:
    """The table; ValueError if a word of it is not one of these."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = []
    for line in lines[2:]:
        *words, outcome = (word.strip() for word in line.strip("|").split("|"))
        cell = Cell(*words, outcome.removesuffix(" *"), outcome.endswith(" *"))
        values = (cell.operation, cell.when, cell.who, cell.how, cell.outcome)
        for value, known in zip(values, (OPERATIONS, WHENS, PARTIES, HOWS, OUTCOMES)):
            if value not in known:
                raise ValueError(f"{TABLE.name}: {value!r} in {line!r} is none of {known}")
        cells.append(cell)
    return cells
