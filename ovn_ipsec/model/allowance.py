# SPDX-License-Identifier: Apache-2.0
"""Pure: how often something is done for one who may ask as often as he likes."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """So many times at once, and then once every so often."""

    burst: int
    every_s: float
    level: float
    """How many times are left, at `at`."""
    at: float
    """Monotonic seconds."""

    @staticmethod
    def full(burst: int, every_s: float, now: float) -> Allowance:
        """One of which nothing was used."""
        return Allowance(burst=burst, every_s=every_s, level=burst, at=now)

    def left(self, now: float) -> float:
        """How many times are left."""
        return min(self.burst, self.level + max(0.0, now - self.at) / self.every_s)

    def allows(self, now: float) -> bool:
        """Whether once more is all right."""
        return now >= self.next_at

    @property
    def next_at(self) -> float:
        """When once more will be all right; it may be past."""
        return self.at + max(0.0, 1.0 - self.level) * self.every_s

    def take(self, now: float) -> Allowance:
        """What is left after once more."""
        return replace(self, level=self.left(now) - 1.0, at=max(now, self.at))

    def give_back(self) -> Allowance:
        """What is left when the last time did not count."""
        return replace(self, level=min(self.burst, self.level + 1.0))
