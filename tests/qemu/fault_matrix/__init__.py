# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix: who dies or stalls, when in an operation, and how; cells.py has its rows."""
