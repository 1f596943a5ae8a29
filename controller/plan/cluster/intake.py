# SPDX-License-Identifier: Apache-2.0
"""Pure: how often rows of one chassis are processed, so that its churn does not burden everyone.

A change is only noted; the row is processed in the state that it has by then. A chassis may change
ten times at once and then once a second; what comes faster is seen later, in its latest state.
"""

from __future__ import annotations

from collections.abc import Iterable

BURST = 10.0
RATE = 1.0
"""Changes of one chassis that are processed in a second, in the long run."""


class Intake:
    """Names of chassis that have changed, and when each may be processed."""

    def __init__(self, always: str) -> None:
        """Start empty.

        Args:
            always: This chassis: its own rows are never delayed.
        """
        self._always = always
        self._changed: dict[str, None] = {}
        self._levels: dict[str, tuple[float, float]] = {}
        """What is left of the burst, and as of when; a full one is forgotten."""

    def note(self, names: Iterable[str]) -> None:
        """Note that rows of these chassis have changed."""
        self._changed.update(dict.fromkeys(names))

    def take(self, now: float) -> list[str]:
        """Take the chassis that may be processed now, oldest change first."""
        taken: list[str] = []
        for name in list(self._changed):
            level = self._level(name, now)
            if name != self._always and level < 1.0:
                continue
            del self._changed[name]
            self._levels[name] = (level - 1.0, now)
            taken.append(name)
        for name in [name for name in self._levels if self._level(name, now) >= BURST]:
            del self._levels[name]
        return taken

    def wake_at(self) -> float | None:
        """When the next delayed one may be processed; None: none is delayed."""
        times = [at + (1.0 - level) / RATE for level, at in map(self._known, self._changed)]
        return min(times, default=None)

    def _known(self, name: str) -> tuple[float, float]:
        return self._levels.get(name, (BURST, float("-inf")))

    def _level(self, name: str, now: float) -> float:
        level, at = self._known(name)
        return min(BURST, level + max(0.0, now - at) * RATE) if level < BURST else BURST
