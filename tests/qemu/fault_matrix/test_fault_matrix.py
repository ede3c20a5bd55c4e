# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/fault-matrix.md holds, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import links
from tests.qemu import binaries
from tests.qemu.fault_matrix.cells import EXPIRED, Cell, read
from tests.qemu.fault_matrix.faults import Fault, number_of, play
from tests.qemu.fault_matrix.scene import LINKS, Scene

pytestmark = pytest.mark.qemu

CELLS = [pytest.param(cell, id=str(cell), marks=[pytest.mark.nightly] if cell.nightly else []) for cell in read()]


@pytest.fixture(scope="module")
def lab() -> Iterator[links.Hosts]:
    with links.up(LINKS) as hosts:
        yield hosts


@pytest.mark.parametrize("cell", CELLS)
def test_cell(lab: links.Hosts, patched: Path, socket_folder: Path, cell: Cell) -> None:
    programs = (patched, binaries.memserver())
    number = number_of(cell.who, cell.operation)
    expires = number if cell.how == EXPIRED else None
    with Scene(programs, socket_folder, lab, cell.operation, cell.replicas, expires) as scene:
        assert play(scene, cell.when, Fault(scene, number, cell.how)) in cell.outcome.split(", or ")
