# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM as it was at one moment, to go on from there as often as wanted: an emulated guest takes long to come so far."""

from __future__ import annotations

import os

from tests.qemu.split import wait_until
from tests.qemu.vm import Vm, VmError

TIMEOUT = 300  # seconds


class Saved:
    """All of a VM in a file that is in memory only; a context manager that gives that back."""

    def __init__(self, vm: Vm) -> None:
        """Save a VM, whichever QEMU it runs on; it does not go on itself. Raises VmError."""
        self._file = os.memfd_create("smemv-saved")
        try:
            vm.qmp("migrate-set-parameters", max_bandwidth=0)
            vm.qmp("migrate", uri=self._uri)
            state = vm.wait_for_migration(TIMEOUT)
            if state["status"] != "completed":
                raise VmError(f"saving the VM: {state}; {vm.log()}")
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Saved:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._file)

    def resume(self, vm: Vm) -> None:
        """Make a VM that was started with incoming=True go on as the saved one. Raises the client's errors."""
        vm.qmp("migrate-incoming", uri=self._uri)
        wait_until(lambda: vm.run_state() == "running", TIMEOUT)

    @property
    def _uri(self) -> str:
        # QEMU opens it anew, and reads or writes from its beginning.
        return f"file:/proc/{os.getpid()}/fd/{self._file}"
