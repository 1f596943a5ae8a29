# SPDX-License-Identifier: Apache-2.0
"""Pure: how often something is done for a requester who may ask as often as he likes."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A number of times at once, and then once in every interval."""

    burst: int
    every_s: float
    level: float
    """How many times were left at the time `at`."""
    at: float
    """Monotonic seconds."""

    @staticmethod
    def full(burst: int, every_s: float, now: float) -> Allowance:
        """Return an unused allowance."""
        return Allowance(burst=burst, every_s=every_s, level=burst, at=now)

    def left(self, now: float) -> float:
        """How many times are left."""
        return min(self.burst, self.level + max(0.0, now - self.at) / self.every_s)

    def allows(self, now: float) -> bool:
        """Whether one more time is allowed now."""
        return now >= self.next_at

    @property
    def next_at(self) -> float:
        """When one more time is allowed; this may be in the past."""
        return self.at + max(0.0, 1.0 - self.level) * self.every_s

    def take(self, now: float) -> Allowance:
        """Return what is left after one more time."""
        return replace(self, level=self.left(now) - 1.0, at=max(now, self.at))

    def give_back(self) -> Allowance:
        """Return what is left if the last time does not count."""
        return replace(self, level=min(self.burst, self.level + 1.0))
