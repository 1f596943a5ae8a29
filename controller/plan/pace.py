# SPDX-License-Identifier: Apache-2.0
"""Pure: when the next IKE negotiation may start, by reservation.

A pair that wants to start asks for the earliest time (`Pace.slot`) and reserves it (`Pace.take`),
now or for later, and no other pair gets it. So a pair that has to wait is woken once, at its time,
and waiting costs nothing: the rate of starts does not depend on how many pairs want to start.

There are three queues, so that peers that answer never wait behind those that do not: attempts
towards a peer that has answered before, the very first attempt towards a peer, and later ones
towards a peer that never has. A pair holds at most one reservation, so a queue is at most as long
as there are pairs, and fair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """The kind of a start, which determines its queue."""

    ANSWERED = "answered"
    """Towards a peer with which there was an IKE_SA."""
    FIRST = "first"
    """The first attempt towards a peer."""
    SILENT = "silent"
    """A further attempt, or a read of the last one, towards a peer that has never answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """How many starts are allowed now, and how fast that refills; negative means reservations."""

    rate: float
    """Starts a second in the long run."""
    burst: float
    level: float
    at: float = float("-inf")
    """When level was true, monotonic seconds."""

    def level_at(self, now: float) -> float:
        """Return how many starts are allowed at a later time."""
        return min(self.burst, self.level + max(0.0, now - self.at) * self.rate)

    def refill(self, now: float) -> Bucket:
        """Return the bucket at a later time."""
        return replace(self, level=self.level_at(now), at=max(self.at, now))

    def slot(self, now: float) -> float:
        """Return the earliest time for a start without a reservation."""
        level = self.level_at(now)
        return now if level >= 1.0 else now + (1.0 - level) / self.rate

    def take(self, now: float) -> Bucket:
        """Return the bucket after that time was reserved."""
        full = self.refill(now)
        return replace(full, level=full.level - 1.0)


def _full(rate: float, burst: float) -> Bucket:
    return Bucket(rate=rate, burst=burst, level=burst)


BUCKETS: Mapping[Kind, Bucket] = MappingProxyType(
    {
        Kind.ANSWERED: _full(100.0, 50.0),
        Kind.FIRST: _full(100.0, 50.0),
        Kind.SILENT: _full(10.0, 20.0),
    }
)
"""The buckets at the start of the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The earliest time for each kind, monotonic seconds; by default nothing waits."""

    answered: float = float("-inf")
    first: float = float("-inf")
    silent: float = float("-inf")

    def of(self, kind: Kind) -> float:
        """Return the time for one kind."""
        times = {Kind.ANSWERED: self.answered, Kind.FIRST: self.first, Kind.SILENT: self.silent}
        return times[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What is left for each kind."""

    buckets: Mapping[Kind, Bucket] = field(default_factory=lambda: BUCKETS)

    def slot(self, kind: Kind, now: float) -> float:
        """Return the earliest time for a start of this kind."""
        return self.buckets[kind].slot(now)

    def slots(self, now: float) -> Slots:
        """Return the earliest time for a start of each kind."""
        return Slots(**{kind.value: self.slot(kind, now) for kind in Kind})

    def take(self, kind: Kind, now: float) -> Pace:
        """Return the pace after that time was reserved."""
        taken = {**self.buckets, kind: self.buckets[kind].take(now)}
        return Pace(buckets=MappingProxyType(taken))
