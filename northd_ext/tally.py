# SPDX-License-Identifier: Apache-2.0
"""Pure: sums of what the chassis report, kept as single chassis change."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from datetime import datetime

from ovn_ipsec.model.policy import Auth, Phase
from ovn_ipsec.model.status import Digest, PairCounts

from .groups import Groups
from .views import ChassisFacts

_STATES = tuple(field.name for field in fields(PairCounts))


class Tally:
    """What the chassis of this availability zone report, by what they have in common."""

    def __init__(self) -> None:
        """Start with no chassis."""
        self.chassis = 0
        self.places: Groups[tuple[int, Phase]] = Groups()
        """By the generation and phase that the controller has applied."""
        self.auths: Groups[frozenset[Auth]] = Groups()
        """By how the chassis could prove who it is."""
        self.problems: Groups[str] = Groups()
        """By what is wrong there: only those where something is."""
        self.warnings: Groups[str] = Groups()
        """By what will be: only those where something will."""
        self.junk: set[str] = set()
        """Those whose report does not parse."""
        self._ends: Counter[datetime] = Counter()
        self._listed: frozenset[tuple[datetime, int]] | None = None
        self._sums = dict.fromkeys(_STATES, 0)

    @property
    def counts(self) -> PairCounts:
        """Sum of the reports."""
        return PairCounts(**self._sums)

    @property
    def ends(self) -> frozenset[tuple[datetime, int]]:
        """When certificates end, UTC, and of how many chassis then."""
        if self._listed is None:
            self._listed = frozenset(self._ends.items())
        return self._listed

    def put(self, name: str, old: ChassisFacts | None, new: ChassisFacts | None) -> None:
        """Replace what is known of a chassis; those of ovn-ic's do not count.

        Args:
            name: Of the chassis.
            old: What was put last; None when nothing was.
            new: What holds now; None when it is gone.
        """
        before, after = _counted(old), _counted(new)
        self.chassis += (after is not None) - (before is not None)
        digest = None if after is None else after.digest
        self._add(None if before is None else before.digest, -1)
        self._add(digest, 1)
        self.junk.discard(name)
        if after is not None and after.digest_error is not None:
            self.junk.add(name)
        if digest is None:
            for groups in (self.places, self.auths, self.problems, self.warnings):
                groups.put(name)
            return
        self.places.put(name, (digest.generation, digest.phase))
        self.auths.put(name, digest.auths)
        self.problems.put(name, *([digest.problem] if digest.problem else []))
        self.warnings.put(name, *([digest.warning] if digest.warning else []))

    def _add(self, digest: Digest | None, times: int) -> None:
        if digest is None:
            return
        for state in _STATES:
            self._sums[state] += times * getattr(digest.counts, state)
        if digest.expires is not None:
            self._listed = None
            self._ends[digest.expires] += times
            if not self._ends[digest.expires]:
                del self._ends[digest.expires]


def _counted(facts: ChassisFacts | None) -> ChassisFacts | None:
    return None if facts is None or facts.is_remote else facts
