# SPDX-License-Identifier: GPL-3.0-or-later
"""What it takes to survive the loss of a sub-host, in memory and in pages moved: two copies, and erasure codes 4+1.

Each model is told of every page that leaves the main host and of every page that comes back, and is then stored nowhere
else. It counts in pages: through the main host's link, between sub-hosts, and in the memory of sub-hosts. Pure.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Sequence

DATA = 4  # pages that share one of parity


class Copies:
    """Every page on two sub-hosts."""

    def __init__(self) -> None:
        self.stored = self.main_link = self.between = 0

    @property
    def memory(self) -> int:
        return 2 * self.stored

    def out(self, _page: int) -> None:
        self.stored += 1
        self.main_link += 2

    def back(self, _page: int) -> None:
        self.stored -= 1
        self.main_link += 1


class InPlace:
    """Four neighbours, each on a sub-host of its own, and their sum on a fifth.

    A sub-host tells the fifth by what the sum changes, whenever one of its pages comes or goes.
    """

    def __init__(self) -> None:
        self.stored = self.main_link = self.between = 0
        self._members: dict[int, int] = {}

    @property
    def memory(self) -> int:
        return self.stored + len(self._members)

    def out(self, page: int) -> None:
        self._change(page, 1)

    def back(self, page: int) -> None:
        self._change(page, -1)

    def _change(self, page: int, by: int) -> None:
        group = page // DATA
        self.stored += by
        self.main_link += 1
        # The last page of a group takes the sum along.
        self.between += self._members.get(group, 0) + by > 0
        self._members[group] = self._members.get(group, 0) + by
        if not self._members[group]:
            del self._members[group]


class Log:
    """Four pages that leave one after another, and their sum, which the main host makes.

    A page that has come back stays in its stripe, whose sum needs it. Where that takes more than ``most`` pages a page
    stored, the pages of the stripe that has the fewest in use are moved into new stripes (Rosenblum and Ousterhout, ACM
    TOCS 1992, clean a log in this way).
    """

    def __init__(self, most: float) -> None:
        self.stored = self.main_link = self.between = 0
        self._most = most
        self._stripe_of: dict[int, int] = {}
        self._pages: dict[int, set[int]] = {}
        self._by_use: list[tuple[int, int]] = []
        self._open = 0
        self._filled = 0

    @property
    def memory(self) -> int:
        return len(self._pages) * (DATA + 1)

    def out(self, page: int) -> None:
        self.stored += 1
        self.main_link += 1
        self.main_link += self._append(page)
        self._clean()

    def back(self, page: int) -> None:
        self.stored -= 1
        self.main_link += 1
        self._take(page)

    def _append(self, page: int) -> int:
        """Put a page into the open stripe; 1 if that filled it, so that its sum is sent."""
        self._pages.setdefault(self._open, set()).add(page)
        self._stripe_of[page] = self._open
        self._filled += 1
        if self._filled < DATA:
            return 0
        heapq.heappush(self._by_use, (len(self._pages[self._open]), self._open))
        self._open, self._filled = self._open + 1, 0
        return 1

    def _take(self, page: int) -> None:
        stripe = self._stripe_of.pop(page)
        self._pages[stripe].remove(page)
        if stripe == self._open:
            return
        if self._pages[stripe]:
            heapq.heappush(self._by_use, (len(self._pages[stripe]), stripe))
        else:
            del self._pages[stripe]

    def _clean(self) -> None:
        while self.memory > self._most * self.stored + DATA + 1 and self._by_use:
            used, stripe = heapq.heappop(self._by_use)
            # Other entries of a stripe are older than its last change.
            if len(self._pages.get(stripe, ())) == used < DATA:
                for page in list(self._pages[stripe]):
                    self._take(page)
                    self.between += 1 + self._append(page)


def run(model: Copies | InPlace | Log, trace: Sequence[int], pages: int, frames: int) -> int:
    """A main host that has ``frames`` of the pages, and lets them leave in the order in which they came.

    All pages but the first ``frames`` are on sub-hosts when the trace begins; what it took to bring them there is not
    counted. Returns the page-ins, as many as the pages that left meanwhile.
    """
    held = OrderedDict.fromkeys(range(frames))
    for page in range(frames, pages):
        model.out(page)
    model.main_link = model.between = 0
    page_ins = 0
    for page in trace:
        if page not in held:
            page_ins += 1
            model.back(page)
            held[page] = None
            oldest, _none = held.popitem(last=False)
            model.out(oldest)
    return page_ins
