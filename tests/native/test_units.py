# SPDX-License-Identifier: GPL-3.0-or-later
"""The C test programs in c/: parser, index, pool and session, each by itself."""

from __future__ import annotations

import subprocess

import pytest
from memserver_process import BUILD, SANITIZER_OPTIONS, make

SEEDS = range(1, 5)


@pytest.fixture(scope="module", autouse=True)
def programs():
    make("tests/native/c")


def run(name: str, *arguments: object) -> None:
    subprocess.run([BUILD / "tests" / name, *map(str, arguments)], check=True, timeout=120, env=SANITIZER_OPTIONS)


def test_wire():
    run("wire_test")


def test_syscalls():
    run("syscalls_test")


@pytest.mark.parametrize("seed", SEEDS)
def test_radix(seed):
    run("radix_test", seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_pool(seed):
    run("pool_test", seed)


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_instruction(seed):
    run("kill_test", seed)
