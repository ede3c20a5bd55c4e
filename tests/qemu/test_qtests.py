# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's own migration tests come out with the patched binary as they do with the stock one."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.qemu

TIMEOUT = 1500  # seconds for one binary; on a machine that has nothing else to do it takes a few minutes
SHARDS = 4  # side by side: most of their time they wait

# /dev/kvm is hidden: where KVM is itself emulated, each of these tests takes a minute.
SCRIPT = """
test ! -e /dev/kvm || mount --bind /dev/null /dev/kvm
exec tests/qtest/migration-test "$@"
"""


def start(build: Path, *options: str) -> subprocess.Popen[str]:
    """Start QEMU's migration tests with the binary in a build folder."""
    return subprocess.Popen(
        ["unshare", "--mount", "sh", "-ec", SCRIPT, "sh", *options],
        cwd=build,
        env={**os.environ, "QTEST_QEMU_BINARY": "./qemu-system-x86_64", "PYTHON": "pyvenv/bin/python3"},
        stdout=subprocess.PIPE,
        text=True,
    )


def outcomes(build: Path) -> tuple[bool, dict[str, str]]:
    """Run all tests with the binary in a build folder: whether all passed, and what became of each (ok, not ok)."""
    tests = [line for line in start(build, "-l").communicate(timeout=60)[0].splitlines() if line.startswith("/")]
    assert tests
    words = [["-p", test] for test in tests]
    shards = [start(build, *itertools.chain(*words[first::SHARDS])) for first in range(SHARDS)]
    results: dict[str, str] = {}
    for shard in shards:
        output = shard.communicate(timeout=TIMEOUT)[0]
        results.update((test, verdict) for verdict, test in re.findall(r"^(ok|not ok) \d+ (\S+)", output, re.MULTILINE))
    complete = set(results) == set(tests) and set(results.values()) == {"ok"}
    return complete and not any(shard.returncode for shard in shards), results


@pytest.mark.timeout(2 * TIMEOUT)
def test_same_outcome_as_stock(patched_build: Path, stock_build: Path) -> None:
    passed, ours = outcomes(patched_build)
    if not passed:
        # What stock does not pass here either says nothing about the patches.
        assert ours == outcomes(stock_build)[1]
