# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A QMP server in a thread, with answers that a test sets. Speaks the protocol, knows nothing of VMs."""

from __future__ import annotations

import json
import os
import socket
import threading

GREETING = {"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": "test"}, "capabilities": []}}


class Refusal(Exception):
    """Answer with this error."""

    def __init__(self, error_class, description):
        super().__init__(description)
        self.answer = {"error": {"class": error_class, "desc": description}}


class FakeQemu:
    """Serves one client after another.

    ``answers`` maps a command to its return value, to a Refusal, to a list of either (one a call, the last one for
    ever), to a function of the arguments, to bytes that are sent as they are, or to None, which ends the connection.
    ``calls`` has what was asked. ``events`` are sent before the next answer.
    """

    def __init__(self, path):
        self.path = str(path)
        self.answers = {"qmp_capabilities": {}}
        self.calls = []
        self.events = []
        self.greeting = (json.dumps(GREETING) + "\n").encode()

    def __enter__(self):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        os.unlink(self.path)

    def commands(self):
        """Names of the commands asked, in order, without the handshake."""
        return [name for name, _arguments in self.calls if name != "qmp_capabilities"]

    def _serve(self):
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            try:
                with connection, connection.makefile("rwb") as stream:
                    self._converse(stream)
            except (BrokenPipeError, ConnectionResetError):
                continue

    def _converse(self, stream):
        self._send(stream, self.greeting)
        for line in stream:
            request = json.loads(line)
            arguments = request.get("arguments", {})
            self.calls.append((request["execute"], arguments))
            for event in self.events:
                self._send(stream, (json.dumps(event) + "\n").encode())
            self.events = []
            answer = self._answer(request["execute"], arguments)
            if answer is None:
                return
            self._send(stream, answer if isinstance(answer, bytes) else (json.dumps(answer) + "\n").encode())

    def _answer(self, command, arguments):
        missing = Refusal("CommandNotFound", f"The command {command} has not been found")
        answer = self.answers.get(command, missing)
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(arguments)
        if isinstance(answer, Refusal):
            return answer.answer
        return answer if answer is None or isinstance(answer, bytes) else {"return": answer}

    @staticmethod
    def _send(stream, data):
        stream.write(data)
        stream.flush()
