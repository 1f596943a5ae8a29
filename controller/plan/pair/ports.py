# SPDX-License-Identifier: Apache-2.0
"""Pure: the UDP ports and local addresses that pairs use, and ports that they have just left.

A row says on which port a tunnel should run; ovn-controller follows a moment later. Until then
packets use the previous port, which stays guarded: one for each pair, until it is forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from typing import TypeVar

from ovn_ipsec.model.chassis import IpAddress, Pair

from ..connection import ConnName
from ..guard import ClearFlow, Direction, PeerPort

_T = TypeVar("_T")


class TunnelPorts:
    """The ports of all pairs; the cost of a change does not grow with the number of pairs."""

    def __init__(self) -> None:
        self._local: Counter[IpAddress] = Counter()
        self._own: Counter[int] = Counter()
        self._peers: Counter[PeerPort] = Counter()
        self._left: dict[ConnName, Pair] = {}
        self._beyond: tuple[frozenset[int], frozenset[PeerPort]] | None = None
        """The last answer of beyond(), and to which ports; None: it may have changed."""

    @property
    def local(self) -> Collection[IpAddress]:
        """Addresses of this chassis that pairs have."""
        return self._local.keys()

    @property
    def own(self) -> Collection[int]:
        """Ports to which peers send."""
        return self._own.keys()

    def beyond(self, ports: frozenset[int]) -> frozenset[PeerPort]:
        """Ports to which this chassis sends, but for these; the same object while unchanged."""
        if self._beyond is None or self._beyond[0] != ports:
            found = frozenset(peer for peer in self._peers if peer.port not in ports)
            self._beyond = ports, found
        return self._beyond[1]

    def put(self, name: ConnName, before: Pair | None, pair: Pair | None) -> None:
        """Record a change of a pair.

        Args:
            name: Its connection.
            before: The pair as it was; None if it is new.
            pair: The pair as it is; None if it is forgotten.
        """
        if before is not None and before == pair:
            return
        for one in (before, self._left.get(name)):
            self._count(one, -1)
        if pair is None:
            self._left.pop(name, None)
        elif before is not None and _ports(before) != _ports(pair):
            self._left[name] = before
        for one in (pair, self._left.get(name)):
            self._count(one, 1)

    def with_left(self, name: ConnName, clear: frozenset[ClearFlow]) -> frozenset[ClearFlow]:
        """The flows of a pair that may be clear, including those over the ports that it has left.

        Args:
            name: Its connection.
            clear: Those of its flows that may be clear.
        """
        left = self._left.get(name)
        if left is None:
            return clear
        ports = {Direction.OUT: left.out_port, Direction.IN: left.in_port}
        return clear | {replace(flow, port=ports[flow.direction]) for flow in clear}

    def _count(self, pair: Pair | None, by: int) -> None:
        if pair is None:
            return
        _add(self._local, pair.local, by)
        _add(self._own, pair.in_port, by)
        port = PeerPort(local=pair.local, remote=pair.remote, port=pair.out_port)
        if _add(self._peers, port, by):
            self._beyond = None


def _add(counts: Counter[_T], one: _T, by: int) -> bool:
    """Count one more or less; returns whether it has come or gone by that."""
    before = counts[one]
    counts[one] = before + by
    if not counts[one]:
        del counts[one]
    return not (before and before + by)


def _ports(pair: Pair) -> tuple[int, int]:
    return (pair.out_port, pair.in_port)
