# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs to test, each under a name of its own so that runs side by side do not meet."""
from __future__ import annotations

import os

import pytest

from tests.lab.cli import CliLab


@pytest.fixture(scope="module")
def lab():
    """A lab of two hosts, for the tests of one file."""
    lab = CliLab(f"t{os.getpid()}")
    lab.run("up", "--hosts", "2", "--memory", "512M")
    yield lab
    lab.run("down")


@pytest.fixture
def no_lab():
    """A lab that is not up; taken down after the test, however that went."""
    lab = CliLab(f"n{os.getpid()}")
    yield lab
    lab.run("down")
