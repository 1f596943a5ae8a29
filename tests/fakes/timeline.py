# SPDX-License-Identifier: Apache-2.0
"""A time that passes only when a test lets it, and what is due in it, in a fixed order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
"""What the wall clock says at second 0."""


STILL = 20_000
"""Events of one moment after which time is taken to stand still."""


class TimeStandsStillError(BaseException):
    """Something happens for ever in one moment. No program under test may catch this."""


class Timeline:
    """Events by time; those of one moment run in the order in which they were put in."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now
        self._count = self._still = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, delay_s: float, run: Callable[[], None]) -> None:
        """Let something happen later."""
        self._count += 1
        heapq.heappush(self._events, (self.now + max(0.0, delay_s), self._count, run))

    def run_until(self, when: float) -> None:
        """Let everything happen until then; an event may call this, too."""
        while self._events and self._events[0][0] <= when:
            at, _, run = heapq.heappop(self._events)
            self._still = 0 if at > self.now else self._still + 1
            if self._still > STILL:
                raise TimeStandsStillError
            self.now = max(self.now, at)
            run()
        self.now = max(self.now, when)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.run_until(self.now + seconds)


class TimelineClock:
    """The clocks of one host (see ovn_ipsec.clock.Clock)."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.wall_offset_s = 0.0
        """How far its wall clock is ahead."""

    def monotonic(self) -> float:
        """See Clock."""
        return self._timeline.now

    def utc_now(self) -> datetime:
        """See Clock."""
        return EPOCH + timedelta(seconds=self._timeline.now + self.wall_offset_s)
