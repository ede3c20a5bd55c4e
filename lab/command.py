# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the machine's own tools."""
from __future__ import annotations

import subprocess

from lab.settings import LabError


def run(*argv, stdin: str = "", check: bool = True) -> str:
    """Run a command and return its standard output; LabError with its standard error if it fails."""
    argv = [str(arg) for arg in argv]
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed; `make setup` installs what the lab needs") from error
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout
