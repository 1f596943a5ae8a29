# SPDX-License-Identifier: Apache-2.0
"""Pure: which pairs were closed, and so stay closed under any other name and after a restart.

Only the operator opens them again: with `relax`, with `off`, or with a class of pairs that is off.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from ovn_ipsec.model.chassis import IpAddress
from ovn_ipsec.model.policy import Mode

from .audit import PolicyKey, is_protected
from .connection import ConnName
from .guard import ClearFlow, GuardState
from .pair.clear import flows_of
from .pair.record import PairRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What was found of an earlier life: a pair that did not send clear text then does not now."""

    guard: GuardState | None = None
    """What was in force; None: nothing."""
    foreign: frozenset[PolicyKey] | None = frozenset()
    """What somebody else's policies encrypt; None: not known, so that every pair counts as closed.
    """
    latched: frozenset[ClearFlow] = frozenset()
    """Flows out of pairs that the boot guard names."""

    def closed(self, record: PairRecord) -> bool:
        """Whether a pair, new here, sent nothing in clear."""
        if record.mode is Mode.OFF:
            return False
        out, _ = flows_of(record)
        if self.guard is not None and out not in self.guard.may_clear:
            return True
        if self.foreign is None or out in self.latched:
            return True
        return is_protected(self.foreign, record.pair)


NOTHING_FORMER = Former()
Way = tuple[IpAddress, IpAddress]
"""The addresses of a pair: ours, and that of the peer."""


class Latches:
    """The pairs that are closed, and what is remembered of those that are forgotten."""

    def __init__(self) -> None:
        self._closed: dict[ConnName, tuple[ClearFlow, str]] = {}
        """The flow out of each pair that is closed now, and its chassis."""
        self._frozen: frozenset[ClearFlow] | None = None
        self._peers: set[str] = set()
        """Chassis of which a closed pair was forgotten: what comes back starts closed."""
        self._ways: dict[Way, ClearFlow] = {}
        """Addresses of closed pairs that were up, so that somebody has proven to be there, and the
        flow out: under another name they start closed, too, and so they do in another life."""

    def inherit(self, before: Latches) -> None:
        """Take over what is closed under the name that this chassis had before.

        Args:
            before: Of that name.
        """
        self._peers |= before._peers | {peer for _, peer in before._closed.values()}
        self._ways |= before._ways
        self._frozen = None

    def remember(self, flows: Iterable[ClearFlow], decided: Container[Way]) -> None:
        """Take over what an earlier life has left, of peers that are not there now.

        Args:
            flows: Out of pairs that were closed.
            decided: Addresses of the pairs that are there: it is known what becomes of them.
        """
        for flow in flows:
            way = (flow.local, flow.remote)
            if way not in decided:
                self._ways[way] = flow
        self._frozen = None

    def put(self, name: ConnName, before: PairRecord, record: PairRecord | None) -> None:
        """Take in how a pair is now.

        Args:
            name: Of the pair.
            before: As it was.
            record: As it is; None: it is forgotten.
        """
        old = self._closed.pop(name, None)
        if record is not None and record.closed:
            self._closed[name] = (flows_of(record)[0], str(record.pair.peer))
        if old != self._closed.get(name):
            self._frozen = None
        if record is None:
            if before.closed:
                self._peers.add(str(before.pair.peer))
            return
        way = (record.pair.local, record.pair.remote)
        if record.closed:
            if record.up_at is not None:
                self._ways[way] = self._closed[name][0]
        elif record.gone_at is None and self._ways.pop(way, None) is not None:
            self._frozen = None

    def holds(self, record: PairRecord) -> bool:
        """Whether a pair that is new, or was forgotten, starts closed."""
        way = (record.pair.local, record.pair.remote)
        known = record.pair.peer in self._peers or way in self._ways
        return known and record.mode is not Mode.OFF

    def flows(self) -> frozenset[ClearFlow]:
        """The flows out of pairs that are closed, or were; the same object while none changes."""
        if self._frozen is None:
            closed = (flow for flow, _ in self._closed.values())
            self._frozen = frozenset((*closed, *self._ways.values()))
        return self._frozen
