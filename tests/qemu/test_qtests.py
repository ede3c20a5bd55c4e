# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's own migration tests come out with the patched binary as they do with the stock one."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.qemu

TIMEOUT = 1200  # seconds for one binary, on a slow machine; a minute on one that has nothing else to do

# /dev/kvm is hidden: where KVM is itself emulated, each of these tests takes a minute.
SCRIPT = """
test ! -e /dev/kvm || mount --bind /dev/null /dev/kvm
exec tests/qtest/migration-test
"""


def outcomes(build: Path) -> dict[str, str]:
    """Run the tests with the binary in a build folder: what became of each, in TAP's words (ok, not ok)."""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", SCRIPT],
        cwd=build,
        env={**os.environ, "QTEST_QEMU_BINARY": "./qemu-system-x86_64", "PYTHON": "pyvenv/bin/python3"},
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    lines = re.findall(r"^(ok|not ok) \d+ (.*)$", done.stdout, re.MULTILINE)
    assert done.returncode == 0, f"{lines}\n{done.stderr}"
    return {test: verdict for verdict, test in lines}


@pytest.mark.timeout(2 * TIMEOUT)
def test_same_outcome_as_stock(patched_build: Path, stock_build: Path) -> None:
    ours = outcomes(patched_build)
    assert ours
    assert set(ours.values()) == {"ok"}
    assert ours == outcomes(stock_build)
