# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the checkout importable as the collection that it is, and gives tests a QMP server of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def collections_root() -> Path:
    """The folder that holds ansible_collections/smemv/kvm: the checkout lies there, or build/ has a link to it."""
    if CHECKOUT.parts[-3:] == ("ansible_collections", "smemv", "kvm"):
        return CHECKOUT.parents[2]
    link = CHECKOUT / "build" / "ansible_collections" / "smemv" / "kvm"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(CHECKOUT)
    return CHECKOUT / "build"


sys.path.insert(0, str(collections_root()))
sys.path.insert(0, str(Path(__file__).parent))

from fake_qmp import FakeQemu  # noqa: E402


@pytest.fixture
def qemu(tmp_path):
    """A FakeQemu that listens on ``qemu.path``."""
    with FakeQemu(tmp_path / "qmp.sock") as fake:
        yield fake
