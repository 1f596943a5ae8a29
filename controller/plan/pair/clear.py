# SPDX-License-Identifier: Apache-2.0
"""Pure: the flows that may be clear, over all pairs.

Pairs of two tunnel types share a flow if one uses the other's UDP port. Then the flow may be clear
only if every pair that has it allows that: no row opens what another pair has closed.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

from ovn_ipsec.model.chassis import Pair

from ..connection import ConnName
from ..guard import ClearFlow, ClearPair
from .record import PairRecord

Said = tuple[frozenset[ClearFlow], frozenset[ClearFlow]]
"""The flows that a pair allows in clear, and those that it denies."""

_NOTHING: Said = (frozenset(), frozenset())


def flows_of(record: PairRecord) -> tuple[ClearFlow, ClearFlow]:
    """The flows of a pair: out, then in."""
    pair = record.pair
    return ClearPair(
        local=pair.local, remote=pair.remote, out_port=pair.out_port, in_port=pair.in_port
    ).flows()


class ClearFlows:
    """What each pair allows, and the result; the cost of a change does not grow with the pairs."""

    def __init__(self) -> None:
        self._given: dict[ConnName, tuple[Pair, frozenset[ClearFlow]]] = {}
        """What put() was last given of each pair."""
        self._said: dict[ConnName, Said] = {}
        self._allowed: Counter[ClearFlow] = Counter()
        self._denied: Counter[ClearFlow] = Counter()
        self._may_clear: set[ClearFlow] = set()
        self._frozen: frozenset[ClearFlow] | None = None

    @property
    def may_clear(self) -> frozenset[ClearFlow]:
        """The flows that some pair allows and none denies; the same object while unchanged."""
        if self._frozen is None:
            self._frozen = frozenset(self._may_clear)
        return self._frozen

    def put(self, name: ConnName, record: PairRecord | None, clear: frozenset[ClearFlow]) -> None:
        """Record what a pair allows now.

        Args:
            name: Its connection.
            record: The pair; None if it is forgotten.
            clear: Those of its flows that may be clear.
        """
        if record is None:
            self._given.pop(name, None)
        else:
            given = record.pair, clear
            if self._given.get(name) == given:
                return
            self._given[name] = given
        said = _NOTHING if record is None else (clear, frozenset(flows_of(record)) - clear)
        before = self._said.pop(name, _NOTHING)
        if said != _NOTHING:
            self._said[name] = said
        if said == before:
            return
        for counter, old, new in zip((self._allowed, self._denied), before, said, strict=True):
            counter.subtract(old - new)
            counter.update(new - old)
        for flow in frozenset(chain.from_iterable((*before, *said))):
            if self._allowed[flow] and not self._denied[flow]:
                self._may_clear.add(flow)
            else:
                self._may_clear.discard(flow)
            for counter in (self._allowed, self._denied):
                if not counter[flow]:
                    del counter[flow]
        self._frozen = None
