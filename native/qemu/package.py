# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a Debian package of an installed tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

# QEMU loads these at run time; no binary is linked to them.
FIRMWARE = ["seabios", "ipxe-qemu", "qemu-system-data"]

CONTROL = """\
Package: {name}
Version: {version}
Architecture: amd64
Maintainer: The S-memV developers <smemv@localhost>
Depends: {depends}
Section: otherosfs
Priority: optional
Description: {description}
"""


def _is_elf(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def _library_dependencies(binaries: list[Path]) -> str:
    """The packages of the shared libraries that binaries need, as a Depends field."""
    with tempfile.TemporaryDirectory() as scratch:
        # dpkg-shlibdeps insists on a source package around it.
        control = Path(scratch) / "debian" / "control"
        control.parent.mkdir()
        control.write_text("Source: smemv\n\nPackage: smemv\nArchitecture: any\n", encoding="utf-8")
        command = ["dpkg-shlibdeps", "-O", "--warnings=1", *binaries]
        done = subprocess.run(command, cwd=scratch, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().partition("shlibs:Depends=")[2]


def make_package(root: Path, deb: Path, name: str, version: str, description: str) -> None:
    """Package the files below root, stripped, as deb; the file appears when it is whole."""
    binaries = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and _is_elf(path)]
    subprocess.run(["strip", "--strip-unneeded", *binaries], check=True)
    depends = ", ".join([_library_dependencies(binaries), *FIRMWARE])
    control = root / "DEBIAN" / "control"
    control.parent.mkdir()
    fields = {"name": name, "version": version, "depends": depends, "description": description}
    control.write_text(CONTROL.format(**fields), encoding="utf-8")
    deb.parent.mkdir(parents=True, exist_ok=True)
    unfinished = deb.with_suffix(f".{os.getpid()}")
    command = ["dpkg-deb", "--root-owner-group", "-Zzstd", "--build", root, unfinished]
    subprocess.run(command, check=True, stdout=sys.stderr)
    unfinished.rename(deb)
