# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest gets done, second by second, while it moves."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Callable

SAMPLE = 0.2  # seconds


class Throughput:
    """Looks at a count that only grows, all the time; a context manager."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._times: list[float] = []
        self._counts: list[int] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Throughput:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.is_set():
            now, count = time.monotonic(), self._count()
            self._counts.append(max(count, self._counts[-1] if self._counts else 0))
            self._times.append(now)
            self._end.wait(SAMPLE)

    def rate(self, begin: float, end: float) -> float:
        """A second's growth between two moments of time.monotonic()."""
        return (self._at(end) - self._at(begin)) / (end - begin)

    def by_second(self, begin: float, end: float) -> list[float]:
        """The growth in each second from one moment on."""
        return [self.rate(begin + second, begin + second + 1) for second in range(int(end - begin))]

    def _at(self, moment: float) -> float:
        """The count at a moment, between two looks."""
        after = min(max(bisect.bisect_left(self._times, moment), 1), len(self._times) - 1)
        (t0, t1), (c0, c1) = self._times[after - 1 : after + 1], self._counts[after - 1 : after + 1]
        return c0 + (c1 - c0) * (moment - t0) / (t1 - t0)
