# SPDX-License-Identifier: Apache-2.0
"""Pure: a token bucket: a few at once, then one at a time."""

from __future__ import annotations


class Bucket:
    """How much of something one writer has left."""

    def __init__(self, burst: int, every_s: float) -> None:
        """Start full.

        Args:
            burst: The maximum number of tokens.
            every_s: Seconds until there is one more.
        """
        self._burst, self._every_s = burst, every_s
        self._full_at = float("-inf")

    def take(self, now: float) -> bool:
        """Take one, if there is one left."""
        if now < self.ready_at():
            return False
        self._full_at = max(self._full_at, now) + self._every_s
        return True

    def ready_at(self) -> float:
        """When there is a token, on the clock of `now`."""
        return self._full_at - (self._burst - 1) * self._every_s

    def is_full(self, now: float) -> bool:
        """Whether it is full: then it need not be remembered."""
        return now >= self._full_at
