# SPDX-License-Identifier: Apache-2.0
"""Pure: which pairs have to be decided, now and at a later time."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from .connection import ConnName


class DuePairs:
    """Marked pairs in the order in which they were marked, and timers; times are monotonic seconds.

    A pair is marked once, however often it is asked for; each of its timers marks it again.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._marked: dict[ConnName, None] = {}
        self._timers: list[tuple[float, ConnName]] = []

    def mark(self, names: Iterable[ConnName]) -> None:
        """Have pairs decided as soon as possible."""
        self._marked.update(dict.fromkeys(names))

    def mark_at(self, name: ConnName, when: float) -> None:
        """Have a pair decided at a later time."""
        heapq.heappush(self._timers, (when, name))

    @property
    def idle(self) -> bool:
        """Whether none is marked."""
        return not self._marked

    def wake_at(self) -> float | None:
        """When the next timer expires; None: there is none."""
        return self._timers[0][0] if self._timers else None

    def take(self, now: float, limit: int) -> list[ConnName]:
        """Take up to ``limit`` marked pairs, including those whose time has come."""
        while self._timers and self._timers[0][0] <= now:
            self.mark([heapq.heappop(self._timers)[1]])
        taken = list(self._marked)[:limit]
        for name in taken:
            del self._marked[name]
        return taken
