# SPDX-License-Identifier: Apache-2.0
"""Pure: how many pairs there are in each state and of each cipher suite, kept up to date."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ovn_ipsec.model.policy import Mode, Profile
from ovn_ipsec.model.status import PairCounts, PairState

from .connection import ConnName
from .pair.record import PairRecord


class PairTally:
    """The pairs of a chassis, counted; a change costs the same however many there are."""

    def __init__(self) -> None:
        self.states: Counter[PairState] = Counter()
        """By state."""
        self.profiles: Counter[Profile] = Counter()
        """By cipher suite, the number of pairs that should have it."""
        self._across: Counter[PairState] = Counter()
        self._far: set[ConnName] = set()
        """Pairs that are counted there."""

    def drop(self, record: PairRecord) -> None:
        """Count a pair no more."""
        self._count(record, -1)

    def add(self, record: PairRecord, *, across: bool | None) -> None:
        """Count a pair.

        Args:
            record: Of which no other record is counted.
            across: Whether its peer belongs to another availability zone; None, because the peer's
                rows are gone: what was last known.
        """
        if across is True:
            self._far.add(record.name)
        elif across is False:
            self._far.discard(record.name)
        self._count(record, 1)

    def forget(self, record: PairRecord) -> None:
        """Note that a pair, which is not counted, no longer exists."""
        self._far.discard(record.name)

    def _count(self, record: PairRecord, by: int) -> None:
        self.states[record.state] += by
        self.profiles[record.profile] += by * (record.mode is not Mode.OFF)
        if record.name in self._far:
            self._across[record.state] += by

    def counts(self, *, across: bool = False) -> PairCounts:
        """The number of pairs in each state.

        Args:
            across: Only of those with other availability zones.
        """
        found = self._across if across else self.states
        return PairCounts(**{state.value: found[state] for state in PairState})


def counts_by_name(counts: Mapping[PairState, int]) -> dict[str, int]:
    """States that have pairs, with their number, in the order of the enumeration."""
    return {state.value: counts[state] for state in PairState if counts.get(state)}
