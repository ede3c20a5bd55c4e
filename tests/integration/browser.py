# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at an HTML page as a person would: in Chromium, which must not need the network for it."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
import zlib
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Page:
    """``text`` is what the page says, without its markup; ``colours`` how many values its picture has."""

    title: str
    text: str
    colours: int


def look(path: Path) -> Page:
    """Open a page; it is whole in itself. Skips the test where there is no Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed, and this machine's apt may have none")
    source = path.read_text(encoding="utf-8")
    fetched = re.findall(r"""(?:src|href)=["']?(?!#)[^"' >]+|@import|url\(""", source)
    assert not fetched, f"{path.name} wants {fetched[:3]}"
    with tempfile.TemporaryDirectory() as folder:
        words = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
        words += ["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1000,3000"]
        dom = _run([*words, "--dump-dom", path.as_uri()])
        _run([*words, f"--screenshot={folder}/page.png", path.as_uri()])
        colours = _colours(Path(folder, "page.png").read_bytes())
    title = re.search(r"<title>(.*?)</title>", dom)
    text = re.sub(r"<style.*?</style>", "", dom, flags=re.DOTALL)
    return Page(title[1] if title else "", unescape(re.sub(r"<[^>]+>", " ", text)), colours)


def _run(words: list[str]) -> str:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _colours(png: bytes) -> int:
    """How many different values the picture's bytes have: very few on a page that is blank."""
    position, data = 8, b""
    while position < len(png):
        length, kind = struct.unpack(">I4s", png[position : position + 8])
        if kind == b"IDAT":
            data += png[position + 8 : position + 8 + length]
        position += length + 12
    return len(set(zlib.decompress(data)))
