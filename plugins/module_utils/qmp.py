# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of QEMU's machine protocol over a UNIX socket.

QEMU serves one client at a time on a socket and lets the next one wait. So a client is opened for a few
commands and closed again, also by whoever watches a migration: others get their turn in between.
"""

from __future__ import annotations

import json
import socket
import time

from ansible_collections.smemv.kvm.plugins.module_utils.errors import QmpCommandError, QmpError, QmpTimeout


class QmpClient:
    """One connection; a context manager.

    :param path: of QEMU's socket.
    :param timeout: seconds that QEMU may take for its greeting and for each answer.
    """

    def __init__(self, path, timeout=10.0):
        self._path = path
        self._timeout = timeout
        self._socket = None
        self._buffer = b""
        self.events = []
        self.greeting = None

    def __enter__(self):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(self._timeout)
            self._socket.connect(self._path)
            self.greeting = self._receive(self._deadline()).get("QMP")
            if self.greeting is None:
                raise QmpError(f"what answers on {self._path} is not QEMU")
            self.execute("qmp_capabilities")
        except OSError as error:
            self.close()
            raise QmpError(f"no QEMU answers on {self._path}: {error}") from error
        except QmpError:
            self.close()
            raise
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """End the connection; QEMU goes on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def execute(self, command, **arguments):
        """Run a command and give what it returns.

        Names are as QMP writes them, or with underscores for its hyphens where they would be no Python.
        Events that come meanwhile are kept in ``events``. Raises QmpCommandError, QmpTimeout, QmpError.
        """
        request = {"execute": command}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        deadline = self._deadline()
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while True:
                message = self._receive(deadline)
                if "event" in message:
                    self.events.append(message)
                elif "error" in message:
                    raise QmpCommandError(command, message["error"]["class"], message["error"]["desc"])
                elif "return" in message:
                    return message["return"]
                else:
                    raise QmpError(f"QEMU on {self._path} answered {command} with neither a return nor an error")
        except OSError as error:
            raise QmpError(f"QEMU on {self._path} went away during {command}: {error}") from error

    def wait_event(self, name, timeout):
        """The next event of that name, of those kept first; it is taken out of ``events``.

        Raises QmpTimeout after ``timeout`` seconds, QmpError if QEMU goes away.
        """
        deadline = time.monotonic() + timeout
        while True:
            for index, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(index)
            try:
                message = self._receive(deadline)
            except OSError as error:
                raise QmpError(f"QEMU on {self._path} went away before {name}: {error}") from error
            if "event" in message:
                self.events.append(message)

    def _deadline(self):
        return time.monotonic() + self._timeout

    def _receive(self, deadline):
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise QmpTimeout(f"QEMU on {self._path} does not answer")
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except socket.timeout as error:
                raise QmpTimeout(f"QEMU on {self._path} does not answer") from error
            if not data:
                raise QmpError(f"QEMU on {self._path} closed the connection")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            message = json.loads(line)
        except ValueError as error:
            raise QmpError(f"QEMU on {self._path} sent what is not JSON") from error
        if not isinstance(message, dict):
            raise QmpError(f"QEMU on {self._path} sent what is not QMP")
        return message


def snake_case(value):
    """A QMP answer with underscores for the hyphens of its keys, at every depth."""
    if isinstance(value, dict):
        return {key.replace("-", "_"): snake_case(item) for key, item in value.items()}
    if isinstance(value, list):
        return [snake_case(item) for item in value]
    return value
