# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the checkout importable as the collection that it is, and gives tests a host and a QMP server of their own."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import hypothesis
import pytest

# A busy machine makes any example slow; what planning may take, test_planner_clusters.py says.
hypothesis.settings.register_profile("smemv", deadline=None)
hypothesis.settings.load_profile("smemv")

CHECKOUT = Path(__file__).resolve().parents[2]


def collections_root() -> Path:
    """The folder that holds ansible_collections/smemv/kvm: the checkout lies there, or build/ has a link to it."""
    if CHECKOUT.parts[-3:] == ("ansible_collections", "smemv", "kvm"):
        return CHECKOUT.parents[2]
    link = CHECKOUT / "build" / "ansible_collections" / "smemv" / "kvm"
    link.parent.mkdir(parents=True, exist_ok=True)
    # Another process may have made it.
    with contextlib.suppress(FileExistsError):
        link.symlink_to(CHECKOUT)
    return CHECKOUT / "build"


sys.path.insert(0, str(collections_root()))
sys.path.insert(0, str(Path(__file__).parent))

from ansible_collections.smemv.kvm.plugins.module_utils.vm import complete  # noqa: E402
from ansible_collections.smemv.kvm.plugins.module_utils.vm_host import VmHost  # noqa: E402
from fake_qmp import FakeQemu  # noqa: E402
from fake_systemd import FakeSystemd  # noqa: E402


@pytest.fixture
def qemu(tmp_path):
    """A FakeQemu that listens on ``qemu.path``."""
    with FakeQemu(tmp_path / "qmp.sock") as fake:
        yield fake


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """A Clock."""
    return Clock()


class Host:
    """A host below a folder: ``vms`` is its VmHost, ``systemd`` its FakeSystemd, run() starts a FakeQemu there."""

    def __init__(self, root):
        self.systemd = FakeSystemd()
        self.vms = VmHost(self.systemd.run_command, str(root))
        self.running = {}
        self.systemd.on_stop = self.end
        (root / "etc/systemd/system").mkdir(parents=True)
        self.binary = root / "qemu"
        self.binary.touch()

    def config(self, **settings):
        """A configuration whose files are all there."""
        return complete("big", {"memory": "1GiB", "qemu": str(self.binary), **settings}, None, False)

    def run(self, name, **answers):
        """A QEMU for the VM that answers so, with its unit active."""
        paths = self.vms.paths(name)
        Path(paths.run_dir).mkdir(parents=True, exist_ok=True)
        fake = FakeQemu(paths.qmp)
        fake.answers.update({"query-status": {"status": "running"}, "query-migrate": {}})
        fake.answers.update({command.replace("_", "-"): answer for command, answer in answers.items()})
        self.running[paths.unit_name] = fake.__enter__()
        self.systemd.active.add(paths.unit_name)
        return fake

    def end(self, unit):
        """End the unit's QEMU, if it has one."""
        if unit in self.running:
            self.running.pop(unit).__exit__()


@pytest.fixture
def host(tmp_path):
    """A Host."""
    host = Host(tmp_path)
    yield host
    for unit in list(host.running):
        host.end(unit)
