# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit tests under every version of ansible-core that is supported. As root.

Where this machine has no Python for one, they are run by that of a lab's host.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cluster import SHARED, Cluster

CHECKOUT = Path(__file__).resolve().parents[2]
# Of the controller; the newest that each runs on, and what Debian 12 has.
VERSIONS = {
    "2.18": ("python3.11", "python3.12", "python3.13"),
    "2.19": ("python3.11", "python3.12", "python3.13"),
    "2.20": ("python3.12", "python3.13", "python3.14"),
    "2.21": ("python3.12", "python3.13", "python3.14"),
}

DEBIAN_13 = "3.13"


def works(python: str) -> bool:
    """Whether there is such an interpreter; a name in PATH may lead nowhere."""
    try:
        done = subprocess.run([python, "--version"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def want(folder: Path, version: str) -> Path:
    """The list of what the unit tests want, with this version of Ansible."""
    wanted = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8")
    wanted = re.sub(r"(?m)^(ansible-|antsibull-|molecule|ruff|shellcheck|yamllint).*\n", "", wanted)
    (folder / "requirements.txt").write_text(f"ansible-core~={version}.0\n{wanted}", encoding="utf-8")
    return folder / "requirements.txt"


def here(folder: Path, python: str, version: str) -> subprocess.CompletedProcess[str]:
    """Run them by a Python of this machine."""
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True, capture_output=True)
    python = folder / "venv/bin/python"
    words = ["-m", "pip", "install", "--quiet", "--requirement", want(folder, version)]
    subprocess.run([python, *words], check=True, capture_output=True)
    words = ["-m", "pytest", "tests/unit", "-q"]
    return subprocess.run([python, *words], cwd=CHECKOUT, capture_output=True, text=True, check=False)


def on_host(lab: Cluster, version: str) -> subprocess.CompletedProcess[str]:
    """Run them by the Python of a host, which gets what they want from this machine."""
    folder, there = lab.folder / "shared" / version, f"{SHARED}/{version}"
    made_here = [CHECKOUT / "build", CHECKOUT / ".git"]
    shutil.copytree(
        CHECKOUT,
        folder / "checkout",
        ignore=lambda parent, names: [name for name in names if Path(parent, name) in made_here],
    )
    words = ["-m", "pip", "download", "--quiet", "--dest", folder / "wheels", "--only-binary=:all:"]
    words += ["--python-version", DEBIAN_13, "--requirement", want(folder, version)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    lab.ssh(
        "host-1",
        f"cd {there} && python3 -m venv venv && venv/bin/pip install --quiet --no-index --find-links wheels"
        " --requirement requirements.txt",
    )
    return lab.try_ssh("host-1", f"cd {there}/checkout && ../venv/bin/python -m pytest tests/unit -q")


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """A lab of one host, of Debian 13."""
    lab = Cluster(f"x{os.getpid()}")
    lab.run("up", "--hosts", "1", "--memory", "3G")
    try:
        lab.ssh("host-1", "apt-get install --quiet --yes python3-venv")
        yield lab
    finally:
        lab.run("down")


@pytest.mark.nightly
@pytest.mark.timeout(1200, func_only=True)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_unit_tests(request: pytest.FixtureRequest, tmp_path: Path, version: str) -> None:
    python = next(filter(works, VERSIONS[version]), None)
    done = here(tmp_path, python, version) if python else on_host(request.getfixturevalue("lab"), version)
    assert done.returncode == 0, done.stdout[-5000:]
