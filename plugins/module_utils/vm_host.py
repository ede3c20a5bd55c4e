# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VMs of this host: their files, units and QEMU processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time

from ansible_collections.smemv.kvm.plugins.module_utils import vm
from ansible_collections.smemv.kvm.plugins.module_utils.errors import HostError, QmpCommandError, QmpError
from ansible_collections.smemv.kvm.plugins.module_utils.qmp import QmpClient, snake_case

INCOMING_WORDS = "SMEMV_INCOMING=-incoming defer\n"
_START_TIMEOUT = 30.0
_STEP = 0.1

# QEMU's run states, where the collection has a word of its own for one.
_STATES = {"inmigrate": "incoming", "postmigrate": "moved"}


class VmHost:
    """Operations on the VMs of the host that this runs on.

    :param run_command: as AnsibleModule.run_command.
    :param root: put before every path; for tests.
    """

    def __init__(self, run_command, root=""):
        self._run_command = run_command
        self._root = root

    def paths(self, name):
        """Where the VM's files are."""
        return vm.Paths(name, self._root)

    def names(self):
        """The VMs that this host has files of."""
        folder = self._root + vm.CONFIG_DIR
        if not os.path.isdir(folder):
            return []
        return sorted(name for name in os.listdir(folder) if os.path.isdir(os.path.join(folder, name)))

    def connect(self, name, timeout=10.0):
        """A QmpClient for the VM, not connected yet."""
        return QmpClient(self.paths(name).qmp, timeout)

    def config(self, name):
        """The VM's configuration, or None."""
        return _read_json(self.paths(name).config)

    def describe(self, name, regions=0):
        """All that there is to know of a VM here, or None if there is none of that name.

        :param regions: into how many parts its memory is divided to tell where they are; 0 tells nothing of that.

        ``state`` is running, paused, incoming (expected from another host), moved (gone to another host, its
        process still there), stopped, unresponsive, or another run state of QEMU's.
        """
        paths = self.paths(name)
        config = _read_json(paths.config)
        active = self._active(paths)
        if config is None and not active:
            return None
        answer = {
            "name": name,
            "state": "stopped",
            "reason": None,
            "adopted": not os.path.exists(paths.incoming),
            "config": config,
            "console": paths.console,
            "qemu": None,
            "memory": None,
            "migration": None,
            "relocation": self.recorded_relocation(name),
        }
        if active:
            try:
                answer.update(self._ask(name, regions))
            except QmpError as error:
                answer.update(state="unresponsive", reason=str(error))
        return answer

    def _ask(self, name, regions):
        with self.connect(name) as client:
            run_state = client.execute("query-status")["status"]
            version = client.greeting["version"]
            memory = query_smemv(client)
            return {
                "state": _STATES.get(run_state, run_state),
                "qemu": {
                    "version": ".".join(str(version["qemu"][part]) for part in ("major", "minor", "micro")),
                    "package": version["package"],
                    "smemv": memory is not None,
                },
                "memory": memory,
                **({"regions": client.execute("query-smemv-map", regions=regions)} if regions and memory else {}),
                "migration": snake_case(client.execute("query-migrate")),
            }

    def define(self, name, config, incoming=False):
        """Write the VM's configuration and unit.

        :param incoming: its next start waits for it to come from another host, until it is adopted.
        """
        paths = self.paths(name)
        if incoming:
            write_file(paths.incoming, INCOMING_WORDS)
        write_file(paths.config, json.dumps(config, indent=2, sort_keys=True) + "\n")
        if _read_text(paths.unit) != vm.unit(name, config, paths):
            write_file(paths.unit, vm.unit(name, config, paths))
            self._systemctl("daemon-reload")

    def defined(self, name, config):
        """Whether the VM's files are as define() would write them."""
        paths = self.paths(name)
        return _read_json(paths.config) == config and _read_text(paths.unit) == vm.unit(name, config, paths)

    def adopt(self, name):
        """The VM that came in is this host's own from now on."""
        os.unlink(self.paths(name).incoming)

    def start(self, name):
        """Start the VM's unit, and wait until its QEMU answers. Raises HostError with QEMU's own words."""
        paths = self.paths(name)
        missing = [path for path in vm.paths_wanted(self.config(name)) if not os.path.exists(path)]
        if missing:
            raise HostError("VM {} cannot start: there is no {}".format(name, ", no ".join(missing)))
        # A unit that failed before keeps that state otherwise.
        self._run_command(["systemctl", "reset-failed", paths.unit_name])
        since = time.time()
        self._systemctl("start", paths.unit_name)
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                with self.connect(name):
                    return
            except QmpError as error:
                if not self._active(paths):
                    raise HostError(f"VM {name} did not start: {self._last_words(paths, since)}") from error
                if time.monotonic() > deadline:
                    raise HostError(f"VM {name} started, and {error}") from error
            time.sleep(_STEP)

    def shut_down(self, name, timeout):
        """Ask the guest to power off, and stop the unit after ``timeout`` seconds at the latest."""
        paths = self.paths(name)
        if timeout and self._active(paths):
            with contextlib.suppress(QmpError), self.connect(name) as client:
                client.execute("system_powerdown")
            deadline = time.monotonic() + timeout
            while self._active(paths) and time.monotonic() < deadline:
                time.sleep(_STEP)
        self.stop(name)

    def stop(self, name):
        """Stop the VM's unit now."""
        self._systemctl("stop", self.paths(name).unit_name)

    def quit(self, name):
        """End the QEMU process by its own command, so that the unit ends cleanly."""
        with contextlib.suppress(QmpError), self.connect(name) as client:
            client.execute("quit")
        self.stop(name)

    def undefine(self, name):
        """Remove the VM's configuration and unit; its disks and its console log stay."""
        paths = self.paths(name)
        if os.path.exists(paths.unit):
            os.unlink(paths.unit)
            self._systemctl("daemon-reload")
        self._run_command(["systemctl", "reset-failed", paths.unit_name])
        shutil.rmtree(paths.config_dir, ignore_errors=True)

    def record_relocation(self, name, relocation):
        """Note beside the running VM where it is moving to."""
        write_file(self.paths(name).relocation, json.dumps(relocation, sort_keys=True) + "\n")

    def recorded_relocation(self, name):
        """What that note says, or None."""
        return _read_json(self.paths(name).relocation)

    def forget_relocation(self, name):
        """Take that note away."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.paths(name).relocation)

    @contextlib.contextmanager
    def alone(self, name):
        """Nobody else looks at the running VM here and then starts to move or rebalance it."""
        try:
            folder = os.open(self.paths(name).run_dir, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError as error:
            raise HostError(f"VM {name} does not run here") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _active(self, paths):
        _code, out, _err = self._run_command(["systemctl", "is-active", paths.unit_name])
        return out.strip() in ("active", "activating", "deactivating", "reloading")

    def _systemctl(self, *words):
        code, out, err = self._run_command(["systemctl", *words])
        if code:
            raise HostError("systemctl {} failed: {}".format(" ".join(words), (err or out).strip()))

    def _last_words(self, paths, since):
        _code, out, _err = self._run_command(
            ["journalctl", "--unit", paths.unit_name, "--since", f"@{int(since)}", "--output", "cat", "--no-pager"]
        )
        lines = [line for line in out.splitlines() if "qemu-system" in line or "ExecStart" in line]
        return " / ".join(lines[-3:]) or "its journal says nothing"


def query_smemv(client):
    """Where the VM's pages are, by its QEMU; None for a QEMU that knows nothing of split VMs."""
    try:
        return snake_case(client.execute("query-smemv"))
    except QmpCommandError as error:
        if error.error_class == "CommandNotFound":
            return None
        raise


def write_file(path, text):
    """Replace a file in one step, so that whoever reads it sees the old or the new one. Raises HostError.

    Its folder is made where it is missing.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        _replace_file(path, text)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from error


def _replace_file(path, text):
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _read_text(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _read_json(path):
    text = _read_text(path)
    return None if text is None else json.loads(text)
