# SPDX-License-Identifier: GPL-3.0-or-later
"""What S-memV adds to the upstream tree: the files that are new and those that the patches change.

A layer is a folder with just these files, at their own paths. It is made from nothing each time and then compared with
the work tree, so that a file whose content is the same keeps its time stamp, and what was compiled from it stays valid.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

WIRE_TARGET = Path("migration/smemv/wire")
MANIFEST = ".smemv-layer"


class LayerError(Exception):
    """Overlay or patches do not fit the upstream tree."""


def files_below(folder: Path) -> list[Path]:
    """The paths of all files below folder, relative to it, sorted."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def wire_sources(wire: Path) -> list[Path]:
    """The C files of the protocol that QEMU compiles."""
    return sorted(path for path in wire.iterdir() if path.suffix in (".c", ".h"))


def patch_files(patches: Path) -> list[Path]:
    """The patches in the order in which they apply."""
    return sorted(patches.glob("*.patch"))


def compose(stock: Path, overlay: Path, wire: Path, patches: Path, layer: Path) -> None:
    """Make the layer for the tree stock in the empty folder layer. Errors: LayerError."""
    for patch in patch_files(patches):
        _apply(patch, stock, layer)
    new = {path: overlay / path for path in files_below(overlay)}
    new.update({WIRE_TARGET / path.name: path for path in wire_sources(wire)})
    for path, source in new.items():
        if (stock / path).exists():
            raise LayerError(f"the overlay would overwrite upstream's {path}")
        (layer / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, layer / path)


def _apply(patch: Path, stock: Path, layer: Path) -> None:
    for name in re.findall(r"^\+\+\+ b/(\S+)", patch.read_text(encoding="utf-8"), re.MULTILINE):
        if not (stock / name).is_file():
            raise LayerError(f"{patch.name} touches {name}, which is not upstream: new files belong in the overlay")
        if not (layer / name).exists():
            (layer / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(stock / name, layer / name)
    command = ["patch", "--strip=1", "--fuzz=0", "--forward", "--no-backup-if-mismatch", "--reject-file=-"]
    done = subprocess.run([*command, "--input", patch], cwd=layer, check=False, capture_output=True, text=True)
    if done.returncode:
        raise LayerError(f"{patch.name} does not apply:\n{done.stdout}{done.stderr}")


def sync(stock: Path, layer: Path, tree: Path) -> None:
    """Make the work tree equal to stock with the layer on top, touching only files that differ."""
    if not tree.is_dir():
        part = tree.with_name(f"{tree.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)  # of a run that was cut off
        subprocess.run(["cp", "-a", "--reflink=auto", stock, part], check=True)
        part.rename(tree)
    manifest = tree / MANIFEST
    before = set(manifest.read_text(encoding="utf-8").splitlines()) if manifest.exists() else set()
    after = {str(path) for path in files_below(layer)}
    # First the union: a run that is cut off leaves no file that the next one does not know.
    manifest.write_text("\n".join(sorted(before | after)), encoding="utf-8")
    for name in sorted(before - after):
        if (stock / name).is_file():
            _copy_if_different(stock / name, tree / name)
        else:
            (tree / name).unlink(missing_ok=True)
    for name in sorted(after):
        _copy_if_different(layer / name, tree / name)
    manifest.write_text("\n".join(sorted(after)), encoding="utf-8")


def _copy_if_different(source: Path, target: Path) -> None:
    if target.is_file() and target.read_bytes() == source.read_bytes():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
