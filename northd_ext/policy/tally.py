# SPDX-License-Identifier: Apache-2.0
"""Pure: sums over what the chassis report, updated as single chassis change."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from datetime import datetime
from typing import NamedTuple

from ovn_ipsec.model.policy import Auth, Phase
from ovn_ipsec.model.status import Digest, PairCounts

from ..observe.views import ChassisFacts
from .groups import Groups

_STATES = tuple(field.name for field in fields(PairCounts))
_PENDING, _BLOCKED = _STATES.index("pending"), _STATES.index("blocked")
_GONE = "lingering"
"""Pairs with chassis that have disappeared: how many there were cannot be checked here."""
_GONE_MAX = 10_000


class Claim(NamedTuple):
    """What a chassis reports of its pairs, and what else is known of it."""

    place: tuple[int, Phase]
    """The generation and phase that it has applied."""
    encaps: int
    states: tuple[int, ...]
    """The number of pairs with chassis of this zone in each state, in the order of PairCounts."""
    across: tuple[int, ...]
    """The same with chassis of other availability zones."""

    @property
    def down(self) -> int:
        """The number of pairs with chassis of this zone that are not up."""
        return self.states[_PENDING] + self.states[_BLOCKED]


class Tally:
    """What the chassis of this availability zone report, grouped by what they have in common."""

    def __init__(self) -> None:
        self.chassis = 0
        self.encaps = 0
        """The number of encaps of all chassis, including other availability zones."""
        self.far = 0
        """The number of encaps of those alone."""
        self.places: Groups[tuple[int, Phase]] = Groups()
        """By the generation and phase that the controller has applied."""
        self.claims: Groups[Claim] = Groups()
        """By what they report of their pairs."""
        self.auths: Groups[frozenset[Auth]] = Groups()
        """By the methods with which the chassis could authenticate."""
        self.problems: Groups[str] = Groups()
        """By the problem they report: only those that report one."""
        self.warnings: Groups[str] = Groups()
        """By the warning they report: only those that report one."""
        self.junk: set[str] = set()
        """Chassis whose report does not parse."""
        self.quarantined: set[str] = set()
        """Chassis in quarantine, which are counted only here and in `chassis`."""
        self._widths: Counter[int] = Counter()
        """By number of encaps, the number of chassis that have as many."""
        self._ends: Counter[datetime] = Counter()
        self._listed: frozenset[tuple[datetime, int]] | None = None
        self._sums: tuple[PairCounts, PairCounts] | None = None
        self._heard: dict[str, Digest] = {}
        """The chassis whose certificate expiry is counted."""

    @property
    def members(self) -> int:
        """How many chassis count."""
        return self.chassis - len(self.quarantined)

    @property
    def widest(self) -> int:
        """The most encaps that any chassis of this zone has."""
        return max(self._widths, default=0)

    @property
    def counts(self) -> PairCounts:
        """Sum of the reports; no chassis counts more pairs than it has encaps to pair with.

        Pairs with other availability zones are not in it: they are in `across`.
        """
        return self._both()[0]

    @property
    def across(self) -> PairCounts:
        """The same of pairs with chassis of other availability zones."""
        return self._both()[1]

    @property
    def ends(self) -> frozenset[tuple[datetime, int]]:
        """When certificates expire, UTC, and on how many chassis."""
        if self._listed is None:
            self._listed = frozenset(self._ends.items())
        return self._listed

    def put(
        self,
        name: str,
        old: ChassisFacts | None,
        new: ChassisFacts | None,
        *,
        quarantined: bool = False,
    ) -> None:
        """Replace what is known of a chassis; chassis that belong to ovn-ic do not count.

        Args:
            name: The chassis.
            old: What was passed last; None if nothing was.
            new: What is true now; None if the chassis has disappeared.
            quarantined: Whether it is in quarantine.
        """
        self._sums = None
        self._measure(old, -1)
        self._measure(new, 1)
        after = _counted(new)
        self.chassis += (after is not None) - (_counted(old) is not None)
        self.quarantined.discard(name)
        if after is not None and quarantined:
            self.quarantined.add(name)
            after = None
        self.junk.discard(name)
        if after is not None and after.digest_error is not None:
            self.junk.add(name)
        self._hear(name, None if after is None else after.digest)
        if after is None or after.digest is None:
            for groups in (self.places, self.claims, self.auths, self.problems, self.warnings):
                groups.put(name)
            return
        digest = after.digest
        place = (digest.generation, digest.phase)
        self.places.put(name, place)
        within = digest.within
        both = (_numbers(within), _numbers(digest.counts.less(within)))
        self.claims.put(name, Claim(place, _width(after), *both))
        self.auths.put(name, digest.auths)
        self.problems.put(name, *([digest.problem] if digest.problem else []))
        self.warnings.put(name, *([digest.warning] if digest.warning else []))

    def _both(self) -> tuple[PairCounts, PairCounts]:
        if self._sums is None:
            within, across = dict.fromkeys(_STATES, 0), dict.fromkeys(_STATES, 0)
            for claim, chassis in self.claims.sizes():
                # An older controller does not tell its pairs apart: all of them are in `states`.
                limit = claim.encaps * max(0, self.encaps - claim.encaps)
                _add(within, claim.states, chassis, limit)
                _add(across, claim.across, chassis, claim.encaps * self.far)
            self._sums = PairCounts(**within), PairCounts(**across)
        return self._sums

    def _measure(self, facts: ChassisFacts | None, times: int) -> None:
        if facts is None:
            return
        width = _width(facts)
        self.encaps += times * width
        if facts.is_remote:
            self.far += times * width
            return
        self._widths[width] += times
        if not self._widths[width]:
            del self._widths[width]

    def _hear(self, name: str, digest: Digest | None) -> None:
        """Count when the certificate of a chassis expires, instead of its previous one."""
        for times, one in ((-1, self._heard.pop(name, None)), (1, digest)):
            if one is None or one.expires is None:
                continue
            self._listed = None
            self._ends[one.expires] += times
            if not self._ends[one.expires]:
                del self._ends[one.expires]
        if digest is not None:
            self._heard[name] = digest


def _counted(facts: ChassisFacts | None) -> ChassisFacts | None:
    return None if facts is None or facts.is_remote else facts


def _numbers(counts: PairCounts) -> tuple[int, ...]:
    return tuple(getattr(counts, state) for state in _STATES)


def _add(sums: dict[str, int], states: tuple[int, ...], chassis: int, limit: int) -> None:
    """Add what some chassis report alike, as far as it can be."""
    for state, count in zip(_STATES, states, strict=True):
        if count:
            most = _GONE_MAX if state == _GONE else limit
            sums[state] += chassis * (count if count < most else most)


def _width(facts: ChassisFacts) -> int:
    return sum(encap.protectable for encap in facts.encaps)
