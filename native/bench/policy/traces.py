# SPDX-License-Identifier: GPL-3.0-or-later
"""Traces of the pages that real programs touch, recorded by valgrind's tool lackey."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence

PAGE_BITS = 12
ACCESS = re.compile(rb"(?:I | [LSM]) ([0-9a-f]+),")  # such as " L 1ffeffe7e0,8"

LACKEY = ["valgrind", "--tool=lackey", "--trace-mem=yes", "--log-fd=2"]

SQL = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO item SELECT i, hex(i * 7919 % 20000) || 'abcdefghijklmnopqrstuvwxyz', i * 31 % 1000 FROM n;
CREATE INDEX by_price ON item (price);
SELECT count(*) FROM item AS a JOIN item AS b ON b.price = a.id % 1000 WHERE a.id % 100 = 0;
UPDATE item SET price = price + 1 WHERE id % 17 = 0;
SELECT sum(length(name)) FROM item WHERE price BETWEEN 100 AND 300;
"""
DICTIONARIES = """
d = {str(i * 7919 % 60013): [i] for i in range(60000)}
for k in range(3):
    for i in range(0, 60000, 7):
        d[str(i * 31 % 60013)] = [k]
    sorted(d)
"""
LINES = "".join(f"{number * 7919 % 60013} {number}\n" for number in range(60000))

# What is run, and what it reads. Each makes some megabytes, and works on them for a while.
PROGRAMS = {
    "SQLite, a table and its index": (["sqlite3", ":memory:", SQL], ""),
    "Python, a dictionary": (["python3", "-S", "-c", DICTIONARIES], ""),
    "sort, 60,000 lines": (["sort", "--parallel=1"], LINES),
}


def record(command: Sequence[str], text: str, most: int) -> list[int]:
    """The pages that a program touches which reads that text, in turn; at most so many.

    A page that is touched twice in a row counts once: the instructions of a program and what they work on take turns.
    """
    trace, last = [], -1
    with tempfile.TemporaryFile("w+") as source:
        source.write(text)
        source.seek(0)
        with subprocess.Popen(
            [*LACKEY, *command], stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as run:
            for line in run.stderr:
                access = ACCESS.match(line)
                page = int(access[1], 16) >> PAGE_BITS if access else last
                if page != last:
                    last = page
                    trace.append(page)
                if len(trace) == most:
                    run.kill()
                    break
    return trace
