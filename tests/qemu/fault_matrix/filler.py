# SPDX-License-Identifier: GPL-3.0-or-later
"""Reserves all that a memserver has left, until its standard input ends.

Usage: python -m tests.qemu.fault_matrix.filler HOST PORT
"""

from __future__ import annotations

import sys

from tests.native import wire_client as wire


def main(host: str, port: str) -> None:
    session = wire.Session(name=b"filler")
    with wire.Connection((host, int(port))) as c:
        assert c.hello().status == wire.OK
        # Somebody else may reserve something just in between.
        while (answer := c.open(session, left(c))).status == wire.NO_SPACE:
            continue
        assert answer.status == wire.OK, answer.text
        assert left(c) == 0
        print("full", flush=True)
        sys.stdin.read()
        assert c.close(session).status == wire.OK


def left(c: wire.Connection) -> int:
    """Pages that are not reserved."""
    stat = c.stat()
    return stat["capacity"] - stat["reserved"]


if __name__ == "__main__":
    main(*sys.argv[1:])
