# SPDX-License-Identifier: GPL-3.0-or-later
"""A memserver on loopback, for tests."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.smemv.kvm.plugins.module_utils.errors import MemserverError
from ansible_collections.smemv.kvm.plugins.module_utils.memserver import MemserverClient

from tests.native.service_manager import ServiceManager

HOST = "127.0.0.1"
START_TIMEOUT = 30
POLL = 0.05


class Memserver:
    """A running memserver; a context manager that ends it. Its control socket and log are in folder."""

    def __init__(
        self,
        binary: Path,
        folder: Path,
        capacity: int,
        port: int | None = None,
        options: Sequence[object] = (),
        *,
        address: str = HOST,
        prefix: Sequence[str] = (),
        manager: ServiceManager | None = None,
    ) -> None:
        """capacity is in bytes; without a port a free one is taken; options are further ones of the memserver.

        prefix is a command to run it by; with a service manager its sessions outlive the process.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.name = folder.name
        self.port = port or free_port()
        self._control = str(folder / "control.sock")
        self._address = address
        self._manager = manager
        self._log = folder / "log"
        self._command = [*prefix, str(binary), "--listen", f"{address}:{self.port}", "--control", self._control]
        self._command += ["--capacity", str(capacity), *map(str, options)]
        self.start()

    def start(self) -> None:
        """Start it, or after stop() start it again."""
        command, environment, descriptors = self._command, {}, []
        if self._manager:
            command, environment, descriptors = self._manager.launch(self._command)
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                pass_fds=descriptors,
            )
        for descriptor in descriptors:
            os.close(descriptor)
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
        return {"name": self.name, "host": self._address, "port": self.port, "share": share}


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
