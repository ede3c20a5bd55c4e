# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores pages on a memserver, or holds what it has against what was stored.

Usage: kept_pages.py store|check|close|forgotten HOST PORT
"""

from __future__ import annotations

import sys

import wire_client as wire

PAGES = 4096
SESSION = wire.Session(id=b"i" * 16, token=b"t" * 32, holder=b"h" * 16, name=b"kept")


def main(action: str, host: str, port: str) -> None:
    with wire.Connection((host, int(port))) as c:
        assert c.hello().status == wire.OK
        if action == "store":
            assert c.open(SESSION, PAGES).status == wire.OK
        status = c.attach(SESSION, 0).status
        assert status == (wire.NO_SESSION if action == "forgotten" else wire.OK), status
        for first in range(0, PAGES, 256):
            pages = [wire.page_of(n % 300) for n in range(first, first + 256)]
            if action == "store":
                assert c.put(first, pages).status == wire.OK
            if action == "check":
                assert c.pages(first, 256) == pages
        if action == "close":
            assert c.close(SESSION).status == wire.OK


if __name__ == "__main__":
    main(*sys.argv[1:])
