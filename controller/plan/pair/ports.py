# SPDX-License-Identifier: Apache-2.0
"""Pure: the UDP ports that pairs use, and those that they have just left.

A row says on which port a tunnel should run; ovn-controller follows a moment later. Until then
packets use the previous port, which stays guarded: one for each pair, until it is forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from ovn_ipsec.model.chassis import Pair

from ..connection import ConnName
from ..guard import ClearFlow, Direction, PeerPort


class TunnelPorts:
    """The ports of all pairs; the cost of a change does not grow with the number of pairs."""

    def __init__(self) -> None:
        self._own: Counter[int] = Counter()
        self._peers: Counter[PeerPort] = Counter()
        self._left: dict[ConnName, Pair] = {}

    @property
    def own(self) -> Collection[int]:
        """Ports to which peers send."""
        return self._own.keys()

    @property
    def peers(self) -> Collection[PeerPort]:
        """Ports to which this chassis sends."""
        return self._peers.keys()

    def put(self, name: ConnName, before: Pair | None, pair: Pair | None) -> None:
        """Record a change of a pair.

        Args:
            name: Its connection.
            before: The pair as it was; None if it is new.
            pair: The pair as it is; None if it is forgotten.
        """
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
        self._own[pair.in_port] += by
        if not self._own[pair.in_port]:
            del self._own[pair.in_port]
        port = PeerPort(local=pair.local, remote=pair.remote, port=pair.out_port)
        self._peers[port] += by
        if not self._peers[port]:
            del self._peers[port]


def _ports(pair: Pair) -> tuple[int, int]:
    return (pair.out_port, pair.in_port)
