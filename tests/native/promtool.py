# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus' own checker, out of Debian's package, which is not installed for it: that would start a server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("SMEMV_CACHE", "/var/cache/smemv")) / "promtool"


def promtool(*arguments: str | Path, stdin: str | None = None) -> None:
    """Run it; it must be content. Skips the test where Debian's package cannot be had."""
    done = subprocess.run([_binary(), *arguments], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr


def _binary() -> Path:
    binary = CACHE / "usr/bin/promtool"
    if not binary.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        got = subprocess.run(
            ["apt-get", "download", "--quiet", "prometheus"], cwd=CACHE, capture_output=True, text=True, check=False
        )
        if got.returncode:
            pytest.skip(f"no package prometheus: {got.stderr}")
        (package,) = CACHE.glob("prometheus_*.deb")
        subprocess.run(["dpkg-deb", "--extract", package, CACHE], check=True)
        package.unlink()
    return binary
