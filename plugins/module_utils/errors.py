# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, by kind. Utilities raise these; only a module's main() fails."""

from __future__ import annotations


class SmemvError(Exception):
    """The message is one sentence for an operator."""


class SizeError(SmemvError):
    """A size that is not written as the collection wants it."""


class ConfigError(SmemvError):
    """A VM's configuration that cannot be."""


class HostError(SmemvError):
    """A step on this host failed: a unit, a file."""


class QmpError(SmemvError):
    """No QEMU answers, or it stopped answering."""


class QmpTimeout(QmpError):
    """QEMU did not answer in time."""


class QmpCommandError(QmpError):
    """QEMU refused a command.

    :ivar error_class: QMP's own class of the error, such as ``CommandNotFound``.
    """

    def __init__(self, command, error_class, description):
        super().__init__(f"QEMU refused {command}: {description}")
        self.error_class = error_class
        self.description = description


class MemserverError(SmemvError):
    """No memserver answers, or not in its protocol."""


class MemserverRefused(MemserverError):
    """The memserver answered with a status other than OK.

    :ivar status: the status' name in the protocol, such as ``NO_SPACE``.
    """

    def __init__(self, opcode, status, text):
        super().__init__(f"the memserver refused {opcode}: {status}: {text}")
        self.status = status


class Refused(SmemvError):
    """A relocation that cannot be; nothing was touched.

    :param reasons: (host, what is missing there), any number of them.
    """

    def __init__(self, reasons):
        self.reasons = list(reasons)
        super().__init__("; ".join(f"{host}: {missing}" for host, missing in self.reasons))


class RelocationFailed(SmemvError):
    """The migration failed or was cancelled; the VM stayed where it was."""


class RelocationStalled(RelocationFailed):
    """The migration is under way and would never end; the message says why."""


class RelocationTimeout(RelocationFailed):
    """The migration is still under way after the time allowed.

    :ivar last: the last state seen, as :func:`relocation.observe` gives it.
    """

    def __init__(self, message, last):
        super().__init__(message)
        self.last = last
