# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for what QEMU does by itself."""

from __future__ import annotations

import time

from ansible_collections.smemv.kvm.plugins.module_utils.errors import (
    QmpError,
    QmpTimeout,
    RelocationFailed,
    RelocationTimeout,
)


class Waiter:
    """Looks at one VM again and again.

    :param name: the VM's.
    :param sleep, clock: as in time; for tests.
    :ivar clock: the seconds that it waits by.
    """

    def __init__(self, name, sleep=time.sleep, clock=time.monotonic):
        self._name = name
        self._sleep = sleep
        self.clock = clock

    def until(self, look, done, late, timeout, interval):
        """Look every ``interval`` seconds until it is done; the last look.

        :param look: () -> what is seen now.
        :param done: (seen) -> whether that is the end; raises RelocationFailed where it is a bad one.
        :param late: (seen) -> a sentence for a wait that was too long.
        :raises RelocationFailed: also where QEMU is gone.
        :raises RelocationTimeout: after ``timeout`` seconds; what QEMU does goes on.
        """
        deadline = self.clock() + timeout
        seen = None
        while True:
            try:
                seen = look()
            except QmpTimeout as error:
                # Busy, not gone: the last steps of a migration keep QEMU's main loop for a while.
                if self.clock() >= deadline:
                    raise RelocationTimeout(str(error), seen) from error
                continue
            except QmpError as error:
                raise RelocationFailed(f"the QEMU of VM {self._name} ended during its relocation: {error}") from error
            if done(seen):
                return seen
            if self.clock() >= deadline:
                raise RelocationTimeout(late(seen), seen)
            self._sleep(min(interval, max(0.0, deadline - self.clock())))
