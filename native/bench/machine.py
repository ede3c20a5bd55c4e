# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that figures are measured on."""

from __future__ import annotations

import platform
from datetime import date
from typing import Any


def machine() -> dict[str, Any]:
    """Its processors' names, one each; its memory in MiB; its kernel's version; and today's date."""
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        processors = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    with open("/proc/meminfo", encoding="utf-8") as meminfo:
        memory = int(meminfo.readline().split()[1]) // 1024
    kernel = platform.release().partition("-")[0]
    return {"processors": processors, "memory_mib": memory, "kernel": kernel, "date": str(date.today())}
