# SPDX-License-Identifier: Apache-2.0
"""Pure: the UDP ports that pairs use, and those that they have just left.

A row says where a tunnel is to run; ovn-controller follows it a moment later. Until then packets
run to the port of before, which stays guarded: one of each pair, until the pair is forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from ovn_ipsec.model.chassis import Pair

from ..connection import ConnName
from ..guard import ClearFlow, Direction, PeerPort


class TunnelPorts:
    """Of all pairs together; the cost of a change does not grow with pairs."""

    def __init__(self) -> None:
        """Start without pairs."""
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
        """Take in how a pair is now.

        Args:
            name: Its connection.
            before: As it was; None: it is new.
            pair: As it is; None: it is forgotten.
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
        """What of a pair may be clear, over the ports that it has left, too.

        Args:
            name: Its connection.
            clear: The flows of it that may be clear.
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
