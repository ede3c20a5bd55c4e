# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/faults.md names tests that there are, and says of each truly whether it runs always."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ROWS = re.findall(r"`(tests/\S+)::(\w+)`( \*)? \|$", (CHECKOUT / "docs/faults.md").read_text(), re.MULTILINE)


def test_the_table_is_read():
    assert len(ROWS) > 20


@pytest.mark.parametrize(("file", "name", "nightly"), ROWS)
def test_a_row_names_a_test(file, name, nightly):
    text = (CHECKOUT / file).read_text()
    marks = re.search(rf"((?:^@.*\n)*)^def {name}\(", text, re.MULTILINE)
    assert marks
    assert ("@pytest.mark.nightly" in marks[1]) == bool(nightly)
