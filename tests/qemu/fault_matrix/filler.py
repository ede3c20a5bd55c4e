# SPDX-License-Identifier: GPL-3.0-or-later
"""Reserves all that a memserver has left, until its standard input ends.

Usage: python -m tests.qemu.fault_matrix.filler HOST PORT BYTES
"""

from __future__ import annotations

import sys

from tests.native import wire_client as wire


def main(host: str, port: str, size: str) -> None:
    session = wire.Session(name=b"filler")
    with wire.Connection((host, int(port))) as c:
        for answer in (c.hello(), c.open(session, int(size) // wire.PAGE)):
            assert answer.status == wire.OK, answer.text
        print("full", flush=True)
        sys.stdin.read()
        assert c.close(session).status == wire.OK


if __name__ == "__main__":
    main(*sys.argv[1:])
