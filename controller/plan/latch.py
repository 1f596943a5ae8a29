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
    """What an earlier run left: a pair that sent no clear text then does not send any now."""

    guard: GuardState | None = None
    """The guard that was in force; None: none."""
    foreign: frozenset[PolicyKey] | None = frozenset()
    """What other programs' policies encrypt; None: not known, so every pair counts as closed.
    """
    latched: frozenset[ClearFlow] = frozenset()
    """Flows out of pairs that the boot guard names."""

    def closed(self, record: PairRecord) -> bool:
        """Whether a pair that is new here sent nothing in clear before."""
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
"""The addresses of a pair: ours, then the peer's."""


class Latches:
    """The pairs that are closed, and what is remembered of forgotten ones."""

    def __init__(self) -> None:
        self._closed: dict[ConnName, tuple[ClearFlow, str]] = {}
        """By pair, the outgoing flow and the chassis of each that is closed now."""
        self._frozen: frozenset[ClearFlow] | None = None
        self._peers: set[str] = set()
        """Chassis with a closed pair that was forgotten: a pair that comes back starts closed."""
        self._ways: dict[Way, ClearFlow] = {}
        """Addresses of closed pairs that had been up (so somebody had proved to be there), with the
        outgoing flow: they start closed under another name, too, and after a restart."""

    def inherit(self, before: Latches) -> None:
        """Take over what is closed under the previous name of this chassis.

        Args:
            before: The latches of that name.
        """
        self._peers |= before._peers | {peer for _, peer in before._closed.values()}
        self._ways |= before._ways
        self._frozen = None

    def remember(self, flows: Iterable[ClearFlow], decided: Container[Way]) -> None:
        """Take over what an earlier run left, for peers that are absent now.

        Args:
            flows: Outgoing flows of pairs that were closed.
            decided: Addresses of the existing pairs, about which it is decided otherwise.
        """
        for flow in flows:
            way = (flow.local, flow.remote)
            if way not in decided:
                self._ways[way] = flow
        self._frozen = None

    def put(self, name: ConnName, before: PairRecord, record: PairRecord | None) -> None:
        """Record a change of a pair.

        Args:
            name: The pair.
            before: The pair as it was.
            record: The pair as it is; None if it is forgotten.
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
        """Whether a pair that is new or was forgotten starts closed."""
        way = (record.pair.local, record.pair.remote)
        known = record.pair.peer in self._peers or way in self._ways
        return known and record.mode is not Mode.OFF

    def flows(self) -> frozenset[ClearFlow]:
        """The outgoing flows of pairs that are or were closed; the same object while unchanged."""
        if self._frozen is None:
            closed = (flow for flow, _ in self._closed.values())
            self._frozen = frozenset((*closed, *self._ways.values()))
        return self._frozen
