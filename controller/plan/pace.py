# SPDX-License-Identifier: Apache-2.0
"""Pure: a token bucket for starts of IKE negotiations."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """How many starts are allowed now, and how that grows back."""

    rate: float = 100.0
    """Starts a second in the long run."""
    burst: float = 50.0
    level: float = 50.0
    at: float = 0.0
    """When level was true, monotonic seconds."""

    def refill(self, now: float) -> Bucket:
        """The bucket at a later time."""
        level = min(self.burst, self.level + max(0.0, now - self.at) * self.rate)
        return replace(self, level=level, at=now)

    @property
    def allows(self) -> bool:
        """Whether one start is allowed."""
        return self.level >= 1.0

    def take(self) -> Bucket:
        """The bucket after one start."""
        return replace(self, level=self.level - 1.0)
