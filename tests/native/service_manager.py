# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a service manager the memserver needs: it keeps descriptors from one process to the next.

It speaks the protocol of sd_notify(3) and sd_listen_fds(3), with real descriptors and processes.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
import socket
import threading

# Above those that the memserver opens by itself, and below a shell's own.
FIRST_SPARE = 100


class ServiceManager:
    def __init__(self, directory: pathlib.Path):
        self._path = str(directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)
        self._kept: list[tuple[str, int]] = []
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"END", self._path)
        self._thread.join()
        self.forget()
        self._socket.close()

    def _settle(self) -> None:
        """Waits until all that an ended process sent is dealt with, as systemd does before it notes the end."""
        ended, barrier = os.pipe()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(self._path)
            socket.send_fds(sender, [b"BARRIER=1"], [barrier])
        os.close(barrier)
        os.read(ended, 1)
        os.close(ended)

    def _listen(self) -> None:
        while True:
            message, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 16)
            if message == b"END":
                return
            fields = dict(line.split("=", 1) for line in message.decode().splitlines())
            if "FDSTORE" in fields:
                self._kept += [(fields["FDNAME"], descriptor) for descriptor in descriptors]
                continue
            if "FDSTOREREMOVE" in fields:
                self.forget(fields["FDNAME"])
            # A barrier's end is that its descriptor is closed.
            for descriptor in descriptors:
                os.close(descriptor)

    def forget(self, name: str | None = None) -> None:
        """Closes what is kept: all, or what has that name."""
        gone = [kept for kept in self._kept if name in (None, kept[0])]
        self._kept = [kept for kept in self._kept if kept not in gone]
        for _, descriptor in gone:
            os.close(descriptor)

    def names(self) -> list[str]:
        return [name for name, _ in self._kept]

    def descriptors(self, name: str) -> list[int]:
        return [descriptor for kept, descriptor in self._kept if kept == name]

    def launch(self, command: list[str]) -> tuple[list[str], dict[str, str], list[int]]:
        """How to start a process that gets what is kept: command, environment, and descriptors to close then."""
        self._settle()
        copies = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, FIRST_SPARE) for _, descriptor in self._kept]
        moves = " ".join(f"{3 + i}<&{copy} {copy}<&-" for i, copy in enumerate(copies))
        environment = {
            "NOTIFY_SOCKET": self._path,
            "LISTEN_FDS": str(len(copies)),
            "LISTEN_FDNAMES": ":".join(self.names()),
        }
        # The shell has the process id that LISTEN_PID is to name, and keeps it.
        return ["bash", "-c", f'LISTEN_PID=$$ exec "$0" "$@" {moves}', *command], environment, copies
