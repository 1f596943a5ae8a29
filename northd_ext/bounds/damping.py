# SPDX-License-Identifier: Apache-2.0
"""Pure: how often a chassis may change its zones, host name, encaps, or its very existence.

Classes follow from these, and from the classes of one chassis what is published to all. So a
chassis may make a few such changes at once, as a restart of ovn-controller needs them, and then
one every EVERY_S; until the next one is accepted, it keeps its old classification. That costs only
its own pairs. What it reports, and everything else in its rows, is never delayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import compress
from operator import is_not
from types import MappingProxyType

from ..observe.views import ChassisFacts
from .bucket import Bucket

BURST = 6
EVERY_S = 30.0


class Damping:
    """The accepted classification of each chassis."""

    def __init__(self) -> None:
        self._seen: dict[str, ChassisFacts] = {}
        self._accepted: dict[str, ChassisFacts] = {}
        self._shown: dict[str, ChassisFacts] = {}
        self._buckets: dict[str, Bucket] = {}
        self._held: set[str] = set()
        self._started = False

    def update(self, chassis: Mapping[str, ChassisFacts], now: float) -> Mapping[str, ChassisFacts]:
        """Update to the current state.

        Args:
            chassis: All chassis by name; one whose facts are the same object costs only a lookup.
            now: Monotonic seconds.

        Returns:
            The accepted state; the same mapping every time.
        """
        names = set(_replaced(chassis, self._seen))
        if len(chassis) != len(self._seen) or names:
            names |= self._seen.keys() - chassis.keys()
        names |= {name for name in self._held if now >= self._buckets[name].ready_at()}
        for name in names:
            self._put(name, chassis.get(name), now)
        for idle in [name for name, bucket in self._buckets.items() if bucket.is_full(now)]:
            del self._buckets[idle]
        self._started = True
        return MappingProxyType(self._shown)

    def deadline(self) -> float | None:
        """When a change is accepted that had to wait, on the clock of `now`."""
        return min((self._buckets[name].ready_at() for name in self._held), default=None)

    def _put(self, name: str, new: ChassisFacts | None, now: float) -> None:
        _set(self._seen, name, new)
        old = self._accepted.get(name)
        self._held.discard(name)
        if _identity(new) == _identity(old) or self._may_change(name, now):
            _set(self._accepted, name, new)
            _set(self._shown, name, new)
            return
        self._held.add(name)
        _set(self._shown, name, _blend(old, new))

    def _may_change(self, name: str, now: float) -> bool:
        """Whether a change is accepted now; a chassis seen for the first time is not a change."""
        if not self._started:
            return True
        return self._buckets.setdefault(name, Bucket(BURST, EVERY_S)).take(now)


def _identity(facts: ChassisFacts | None) -> object:
    if facts is None:
        return None
    labels = frozenset(encap.label for encap in facts.encaps)
    return (facts.is_remote, facts.hostname, facts.zones, facts.azs, labels)


def _blend(old: ChassisFacts | None, new: ChassisFacts | None) -> ChassisFacts | None:
    """What a chassis was, combined with what it now reports and the rest of its rows."""
    if old is None or new is None:
        return old
    labels = {encap.label for encap in old.encaps}
    return replace(
        old,
        encaps=tuple(encap for encap in new.encaps if encap.label in labels),
        encap_error=new.encap_error,
        digest=new.digest,
        digest_error=new.digest_error,
    )


def _set(held: dict[str, ChassisFacts], name: str, facts: ChassisFacts | None) -> None:
    if facts is None:
        held.pop(name, None)
    else:
        held[name] = facts


def _replaced(new: Mapping[str, ChassisFacts], old: Mapping[str, ChassisFacts]) -> Iterator[str]:
    return compress(new, map(is_not, new.values(), map(old.get, new)))
