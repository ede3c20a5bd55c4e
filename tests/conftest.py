# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests may run side by side (pytest-xdist's loadgroup): files, but for those that share hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# One lab serves all of them but these, which have hosts of their own.
SHARED_HOSTS = HERE / "integration"
OWN_HOSTS = {SHARED_HOSTS / "test_tls.py"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        shares = item.path.parent == SHARED_HOSTS and item.path not in OWN_HOSTS
        group = item.path.parent if shares else item.path
        item.add_marker(pytest.mark.xdist_group(str(group.relative_to(HERE))))
