# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the patched QEMU on this machine, and what they and the benchmarks start VMs and memservers with."""

import tests.qemu.paths  # noqa: F401  first: it makes the project's own Python importable
