# SPDX-License-Identifier: GPL-3.0-or-later
"""The upstream source that native/qemu is made for: which it is, and an unpacked tree of it."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from isolated_apt import IsolatedApt


class ChecksumError(Exception):
    """A downloaded file is not the pinned one."""


@dataclass(frozen=True)
class Upstream:
    """A Debian source package, pinned by the sha256 of each of its files."""

    package: str
    version: str
    release: str
    sha256: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Upstream:
        """Read an UPSTREAM file: lines of package, version, release, and one sha256 for each file."""
        single: dict[str, str] = {}
        sha256: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            key, *values = line.split()
            if key == "sha256":
                digest, name = values
                sha256[name] = digest
            elif not key.startswith("#"):
                (single[key],) = values
        return cls(sha256=sha256, **single)

    @property
    def number(self) -> str:
        """The version without Debian's epoch and suffixes: 10.0.13."""
        return self.version.partition(":")[2].partition("+")[0]

    def stock_tree(self, cache: Path) -> Path:
        """The unpacked source, Debian's own patches applied; fetched and verified if it is not in the cache yet."""
        digest = hashlib.sha256(repr(sorted(self.sha256.items())).encode()).hexdigest()[:12]
        tree = cache / "source" / f"{self.number}-{digest}"
        if not tree.is_dir():
            tree.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=tree.parent) as scratch:
                self._fetch(Path(scratch))
                unpacked = Path(scratch) / "tree"
                dsc = next(name for name in self.sha256 if name.endswith(".dsc"))
                # The files are the pinned ones: who signed them does not matter.
                command = ["dpkg-source", "--no-check", "--extract", dsc, unpacked]
                subprocess.run(command, cwd=scratch, check=True, stdout=subprocess.DEVNULL)
                unpacked.rename(tree)
        return tree

    def _fetch(self, folder: Path) -> None:
        apt = IsolatedApt(folder / "apt", self.release, "deb-src")
        apt.download_source(self.package, self.version, folder)
        for name, expected in self.sha256.items():
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            if found != expected:
                raise ChecksumError(f"{name}: sha256 is {found}, UPSTREAM says {expected}")
