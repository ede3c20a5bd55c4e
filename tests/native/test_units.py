# SPDX-License-Identifier: GPL-3.0-or-later
"""The C test programs in c/: parser, index, pool, session and more, each by itself."""

from __future__ import annotations

import subprocess

import pytest
from certificates import KNOWN
from memserver_process import SANITIZER_OPTIONS

from tests.make import BUILD, make

SEEDS = range(1, 5)


@pytest.fixture(scope="module", autouse=True)
def programs():
    make("tests/native/c")


def run(name: str, *arguments: object) -> None:
    subprocess.run([BUILD / "tests" / name, *map(str, arguments)], check=True, timeout=120, env=SANITIZER_OPTIONS)


def test_wire():
    run("wire_test")


def test_tls(authority, tmp_path):
    own = authority.issue(tmp_path / "own", "main-1", KNOWN)
    (own / "peers").write_text("main-1\n")
    for host in ("main-1", "192.0.2.1"):
        run("tls_test", own, host)


def test_syscalls():
    run("syscalls_test")


@pytest.mark.parametrize("seed", SEEDS)
def test_radix(seed):
    run("radix_test", seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_pool(seed):
    run("pool_test", seed)


def test_move():
    try:
        run("move_test", 1)
    except subprocess.CalledProcessError as error:
        if error.returncode == 77:
            pytest.skip("no userfaultfd that can be used, or a kernel before 6.8")
        raise


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_instruction(seed):
    run("kill_test", seed)
