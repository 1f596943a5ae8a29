# SPDX-License-Identifier: Apache-2.0
"""Pure: how often the tunnel ports of one peer are written, whatever happens to its rows."""

from __future__ import annotations

from ..pace import Bucket

BURST = 5.0
"""Writes for one peer that are not held up."""
SLOW_S = 10.0
"""Between two writes for one peer in the long run."""


class PeerPace:
    """A token bucket for each peer that was written for of late."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._buckets)

    def allowed_at(self, peer: str, now: float) -> float:
        """When the next write is allowed, monotonic seconds; at most now when it is."""
        bucket = self._buckets.get(peer)
        if bucket is None:
            return now
        return bucket.slot(now)

    def take(self, peer: str, now: float) -> None:
        """Count a write."""
        bucket = self._buckets.get(peer)
        if bucket is None:
            bucket = Bucket(rate=1.0 / SLOW_S, burst=BURST, level=BURST, at=now)
        self._buckets[peer] = bucket.take(now)

    def tidy(self, now: float) -> None:
        """Forget who may do all of it again: a name that comes and goes costs nothing for long."""
        for peer in [p for p, bucket in self._buckets.items() if _is_full(bucket.refill(now))]:
            del self._buckets[peer]


def _is_full(bucket: Bucket) -> bool:
    return bucket.level >= bucket.burst
