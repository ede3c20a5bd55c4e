# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/reference is what tools/reference writes, and no link of the documentation leads nowhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def pages(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_the_reference_is_current(tmp_path):
    subprocess.run([sys.executable, CHECKOUT / "tools/reference", tmp_path], check=True)
    written, kept = pages(tmp_path), pages(CHECKOUT / "docs/reference")
    stale = sorted(name for name in {*written, *kept} if written.get(name) != kept.get(name))
    assert not stale, f"make reference: {stale}"


def test_links_lead_somewhere():
    files = [CHECKOUT / "README.md", *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("native/*/*.md")]
    dead = [
        (str(path.relative_to(CHECKOUT)), link)
        for path in files
        for link in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
        if "://" not in link and not (path.parent / link).exists()
    ]
    assert not dead
