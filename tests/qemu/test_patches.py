# SPDX-License-Identifier: GPL-3.0-or-later
"""What S-memV may do to upstream's tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from layer import compose, patch_files

from tests.qemu.paths import NATIVE_QEMU

NATIVE = NATIVE_QEMU.parent
OVERLAY = NATIVE / "qemu" / "overlay"
PATCHES = NATIVE / "qemu" / "patches"
HOOK_BUDGET = 150  # lines added to upstream's files


def test_hooks_stay_within_their_budget() -> None:
    lines = [line for patch in patch_files(PATCHES) for line in patch.read_text(encoding="utf-8").splitlines()]
    added = [line for line in lines if line.startswith("+") and not line.startswith("+++ ")]
    assert 0 < len(added) <= HOOK_BUDGET


@pytest.mark.qemu
def test_layer_fits_upstream(stock_tree: Path, tmp_path: Path) -> None:
    compose(stock_tree, OVERLAY, NATIVE / "wire", PATCHES, tmp_path)
    assert (tmp_path / "migration" / "smemv").is_dir()


@pytest.mark.qemu
def test_overlay_is_in_qemus_style(stock_tree: Path) -> None:
    sources = sorted(path for path in OVERLAY.rglob("*") if path.suffix in (".c", ".h"))
    command = ["scripts/checkpatch.pl", "--quiet", "--no-signoff", "--terse", "--file", *sources]
    done = subprocess.run(command, cwd=stock_tree, check=False, capture_output=True, text=True)
    assert sources
    assert [line for line in done.stdout.splitlines() if "ERROR:" in line or "WARNING:" in line] == []
    assert done.returncode == 0, done.stdout + done.stderr
