# SPDX-License-Identifier: GPL-3.0-or-later
"""A memserver that a test has started."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import ssl
import subprocess

from service_manager import ServiceManager
from wire_client import PAGE, Connection, Session

MIB = 1 << 20
PAGES_PER_MIB = 256

SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1",
}


class Memserver:
    """A memserver that runs, and what it has said."""

    def __init__(
        self,
        binary: pathlib.Path,
        directory: pathlib.Path,
        capacity: int = 64 * MIB,
        workers: int = 2,
        options: tuple[str, ...] = (),
        manager: ServiceManager | None = None,
        tls: ssl.SSLContext | None = None,
    ):
        self.tls = tls
        self.control = str(directory / "control.sock")
        self.log = directory / "log"
        command = [
            str(binary),
            "--listen",
            "127.0.0.1:0",
            "--control",
            self.control,
            "--capacity",
            str(capacity),
            "--workers",
            str(workers),
            *options,
        ]
        environment, descriptors = {}, []
        if manager:
            command, environment, descriptors = manager.launch(command)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stderr=log,
                env={**os.environ, **SANITIZER_OPTIONS, **environment},
                pass_fds=descriptors,
            )
        for descriptor in descriptors:
            os.close(descriptor)
        self.address = ("127.0.0.1", self._port())

    def _port(self) -> int:
        follow = subprocess.run(
            [
                "timeout",
                "20",
                "sh",
                "-c",
                f"until grep -q workers {self.log}; do kill -0 {self.process.pid} || exit 1; sleep 0.02; done",
            ],
            check=False,
        )
        text = self.log.read_text()
        assert follow.returncode == 0, text
        return int(re.search(r"port (\d+)", text)[1])

    def connect(self, **options) -> Connection:
        """A connection that has said HELLO."""
        connection = Connection(self.address, **{"tls": self.tls, **options})
        assert connection.hello().status == 0
        return connection

    def connect_local(self) -> Connection:
        connection = Connection(self.control)
        assert connection.hello().status == 0
        return connection

    def attached(self, session: Session, reserve: int = PAGES_PER_MIB) -> Connection:
        """A connection attached to a session, which it opens."""
        connection = self.connect()
        assert connection.open(session, reserve).status == 0
        assert connection.attach(session).status == 0
        return connection

    def committed(self) -> int:
        """Pages of memory behind all sessions' data, as the kernel counts them."""
        blocks = 0
        for link in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
            if "smemv-pages" in os.readlink(link):
                blocks += os.stat(link).st_blocks
        return blocks * 512 // PAGE

    def kill(self) -> None:
        """Ends it where it stands."""
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> None:
        """Stops it, and holds it to a clean end: the sanitizers complain by the exit status."""
        if self.process.returncode == -signal.SIGKILL:
            return
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log.read_text()
        assert not os.path.exists(self.control)
