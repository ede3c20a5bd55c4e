# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the fuzzers' seeds: each request, rightly made, alone and together.

Usage: make_corpus.py DIRECTORY
"""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "native"))

import wire_client as wire

ZERO = wire.Session(id=bytes(16), token=bytes(32), holder=bytes(16), name=b"")
OTHER = wire.Session(id=b"i" * 16, token=b"t" * 32, holder=b"h" * 16, name=b"other")

LOCAL, ATTACHED, PIECES = 1, 2, 4

REQUESTS = {
    "hello": wire.request(wire.HELLO, payload=wire.hello_payload()),
    "open": wire.request(wire.OPEN, payload=wire.open_payload(OTHER, 8)),
    "open-zero": wire.request(wire.OPEN, payload=wire.open_payload(ZERO, 32)),
    "attach": wire.request(wire.ATTACH, payload=wire.attach_payload(ZERO)),
    "put": wire.request(wire.PUT, 1, 7, 4096, wire.put_payload([bytes(4096)])),
    "put-3": wire.request(wire.PUT, 3, 8, 63 * 4096, wire.put_payload([bytes(4096)] * 3)),
    "put-wrong": wire.request(wire.PUT, 1, 9, 0, wire.put_payload([b"x" * 4096], [5])),
    "put-33": wire.request(wire.PUT, 33, 8, 63 * 4096, wire.put_payload([bytes(4096)] * 33)),
    "get": wire.request(wire.GET, 1, 1, 4096),
    "get-256": wire.request(wire.GET, 256, 1),
    "drop": wire.request(wire.DROP, 2, 1, 4096),
    "sync": wire.request(wire.SYNC),
    "stat": wire.request(wire.STAT),
    "close": wire.request(wire.CLOSE, payload=bytes(48)),
    "claim": wire.request(wire.CLAIM, address=1),
    "copy": wire.request(wire.COPY, 4, 3, 63 * 4096, wire.copy_payload(bytes(16), 4770, b"there")),
    "copy-stale": wire.request(wire.COPY, 1, 3, 4096, wire.copy_payload(b"x" * 16, 4770, b"there")),
    "reserve-up": wire.request(wire.RESERVE, address=40),
    "reserve-down": wire.request(wire.RESERVE, address=3),
}

SEQUENCES = {
    "life": ("open", "put", "get", "put-3", "claim", "get-256", "drop", "reserve-down", "stat", "close", "get"),
    "again": ("put-3", "put-3", "drop", "put", "sync", "get-256", "reserve-up", "put"),
    "reopen": ("close", "open-zero", "attach", "put", "get", "stat"),
    "copies": ("put-3", "copy", "drop", "copy", "put-3", "copy-stale", "copy", "attach", "copy", "get-256"),
    "bad-end": ("sync", "put", "hello", "sync"),
}


HTTP = {
    "get": b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9470\r\nAccept: */*\r\n\r\n",
    "query": b"GET /metrics?x=y HTTP/1.0\r\n\r\n",
    "post": b"POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
    "elsewhere": b"GET / HTTP/1.1\r\n\r\n",
    "empty": b"\r\n\r\n",
}


def main(directory: str) -> None:
    root = pathlib.Path(directory)
    for target in ("fuzz_wire", "fuzz_connection", "fuzz_http"):
        (root / target).mkdir(parents=True, exist_ok=True)
    for name, request in REQUESTS.items():
        (root / "fuzz_wire" / name).write_bytes(request[:16])
        if 16 < len(request) <= 16 + 280:
            (root / "fuzz_wire" / f"{name}-payload").write_bytes(request[16:])
        (root / "fuzz_connection" / name).write_bytes(bytes([ATTACHED]) + request)
    for name, request in HTTP.items():
        (root / "fuzz_http" / name).write_bytes(request)
    for name, sequence in SEQUENCES.items():
        requests = b"".join(REQUESTS[one] for one in sequence)
        for how in (LOCAL, ATTACHED, ATTACHED | PIECES, LOCAL | ATTACHED):
            (root / "fuzz_connection" / f"{name}-{how}").write_bytes(bytes([how]) + requests)


if __name__ == "__main__":
    main(sys.argv[1])
