# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as its users get it: built, and installed in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Artifact:
    """An installed collection; its commands run outside the checkout, and know nothing of it."""

    folder: Path

    @property
    def content(self) -> Path:
        """What was installed."""
        return self.folder / "collections/ansible_collections/smemv/kvm"

    def environment(self) -> dict[str, str]:
        """For Ansible's commands."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return {**kept, "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections")}

    def run(self, command: str, *args: str) -> subprocess.CompletedProcess[str]:
        """One of Ansible's commands."""
        return subprocess.run(
            [Path(sys.executable).with_name(command), *args],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def install(folder: Path) -> Artifact:
    """Build the collection from the checkout and install it there."""
    artifact = Artifact(folder)
    built = artifact.run("ansible-galaxy", "collection", "build", "--output-path", str(folder), str(CHECKOUT))
    assert built.returncode == 0, built.stdout
    (archive,) = folder.glob("smemv-kvm-*.tar.gz")
    installed = artifact.run(
        "ansible-galaxy", "collection", "install", "--offline", "-p", str(folder / "collections"), str(archive)
    )
    assert installed.returncode == 0, installed.stdout
    return artifact
