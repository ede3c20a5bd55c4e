# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's own migration tests come out with the patched binary as they do with the stock one."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.qemu

TIMEOUT = 1500  # seconds for one binary; on a machine that has nothing else to do it takes a few minutes

# /dev/kvm is hidden: where KVM is itself emulated, each of these tests takes a minute.
SCRIPT = """
test ! -e /dev/kvm || mount --bind /dev/null /dev/kvm
exec tests/qtest/migration-test
"""


def outcomes(build: Path) -> tuple[bool, dict[str, str]]:
    """Run the tests with the binary in a build folder: whether all passed, and what became of each (ok, not ok)."""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", SCRIPT],
        cwd=build,
        env={**os.environ, "QTEST_QEMU_BINARY": "./qemu-system-x86_64", "PYTHON": "pyvenv/bin/python3"},
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
    )
    results = {test: verdict for verdict, test in re.findall(r"^(ok|not ok) \d+ (.*)$", done.stdout, re.MULTILINE)}
    planned = re.findall(r"^1\.\.(\d+)$", done.stdout, re.MULTILINE)
    complete = planned == [str(len(results))] and set(results.values()) == {"ok"}
    return done.returncode == 0 and complete, results


@pytest.mark.timeout(2 * TIMEOUT)
def test_same_outcome_as_stock(patched_build: Path, stock_build: Path) -> None:
    passed, ours = outcomes(patched_build)
    if not passed:
        # What stock does not pass here either says nothing about the patches.
        assert ours == outcomes(stock_build)[1]
