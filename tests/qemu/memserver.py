# SPDX-License-Identifier: GPL-3.0-or-later
"""A memserver on loopback, for tests."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.smemv.kvm.plugins.module_utils.errors import MemserverError
from ansible_collections.smemv.kvm.plugins.module_utils.memserver import MemserverClient

HOST = "127.0.0.1"
START_TIMEOUT = 30
POLL = 0.05


class Memserver:
    """A running memserver; a context manager that ends it. Its control socket and log are in folder."""

    def __init__(
        self, binary: Path, folder: Path, capacity: int, port: int | None = None, options: Sequence[object] = ()
    ) -> None:
        """capacity is in bytes; without a port a free one is taken; options are further ones of the memserver."""
        folder.mkdir(parents=True, exist_ok=True)
        self.name = folder.name
        self.port = port or free_port()
        self._control = str(folder / "control.sock")
        command = [binary, "--listen", f"{HOST}:{self.port}", "--control", self._control]
        command += ["--capacity", str(capacity), *map(str, options)]
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.stat()
                return
            except MemserverError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
            time.sleep(POLL)

    def __enter__(self) -> Memserver:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stat(self) -> dict[str, Any]:
        """The memserver's own account, in bytes: capacity, reserved, used, version, sessions."""
        with MemserverClient(self._control) as client:
            return client.stat()

    def stop(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()

    def sub_host(self, share: int) -> dict[str, Any]:
        """This memserver as smemv-set-target wants it, with that many bytes reserved."""
        return {"name": self.name, "host": HOST, "port": self.port, "share": share}


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
