# SPDX-License-Identifier: Apache-2.0
"""Pure: how often something may happen: token buckets, and delays that grow with each failure."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A number of times at once, then once in each interval."""

    burst: int
    every_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What is left of a Limit."""

    level: float
    at: float
    """When level was true, monotonic seconds."""


def spend(limit: Limit, bucket: Bucket | None, now: float) -> tuple[Bucket, bool]:
    """Take one token.

    Args:
        limit: Of the bucket.
        bucket: As it was left; None for a full one.
        now: Monotonic seconds; a clock that went back counts as one that stood still.

    Returns:
        The bucket afterwards, and whether there was a token.
    """
    level = float(limit.burst)
    if bucket is not None:
        level = min(level, bucket.level + max(0.0, now - bucket.at) / limit.every_s)
    allowed = level >= 1.0
    return Bucket(level=level - 1.0 if allowed else level, at=now), allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Consecutive failures, and the resulting delay."""

    first_s: float
    """The delay after the first failure that counts."""
    most_s: float
    free: int = 0
    """This many consecutive failures cause no delay."""
    failures: int = 0

    def failed(self) -> Backoff:
        """Return the back-off after one more failure."""
        return replace(self, failures=self.failures + 1)

    def reset(self) -> Backoff:
        """Return the back-off after a success."""
        return replace(self, failures=0)

    def delay_s(self, chance: float) -> float:
        """Seconds to wait.

        Args:
            chance: In [0, 1); it adds up to half, so that not all retry at the same moment.
        """
        counted = self.failures - self.free
        if counted <= 0:
            return 0.0
        grown = self.first_s * 2.0 ** min(counted - 1, 32)
        return min(self.most_s, grown) * (1.0 + chance / 2.0)
