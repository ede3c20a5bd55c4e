# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit tests under every version of ansible-core that is supported, as far as this machine has a Python for it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
# Of the controller; the newest that each runs on, and what Debian 12 has.
VERSIONS = {
    "2.18": ("python3.11", "python3.12", "python3.13"),
    "2.19": ("python3.11", "python3.12", "python3.13"),
    "2.20": ("python3.12", "python3.13", "python3.14"),
    "2.21": ("python3.12", "python3.13", "python3.14"),
}


def works(python: str) -> bool:
    """Whether there is such an interpreter; a name in PATH may lead nowhere."""
    try:
        done = subprocess.run([python, "--version"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def environment(folder: Path, python: str, version: str) -> Path:
    """What the unit tests want, with this version of Ansible; its Python."""
    subprocess.run([python, "-m", "venv", folder], check=True, capture_output=True)
    wanted = re.sub(r"(?m)^(ansible-|antsibull-|molecule|ruff|shellcheck|yamllint).*\n", "",
                    (CHECKOUT / "requirements.txt").read_text(encoding="utf-8"))  # fmt: skip
    (folder / "requirements.txt").write_text(f"ansible-core~={version}.0\n{wanted}", encoding="utf-8")
    words = ["-m", "pip", "install", "--quiet", "--requirement", folder / "requirements.txt"]
    subprocess.run([folder / "bin/python", *words], check=True, capture_output=True)
    return folder / "bin/python"


@pytest.mark.nightly
@pytest.mark.timeout(1200, func_only=True)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_unit_tests(tmp_path: Path, version: str) -> None:
    python = next(filter(works, VERSIONS[version]), None)
    if python is None:
        pytest.skip(f"this machine has no Python for ansible-core {version}")
    words = [environment(tmp_path / "venv", python, version), "-m", "pytest", "tests/unit", "-q"]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
