# SPDX-License-Identifier: Apache-2.0
"""Pure: the connections that peers would have if an address that several claim were theirs."""

from __future__ import annotations

from collections.abc import Iterable

from ovn_ipsec.model.chassis import Pair

from .cluster.world import Address
from .connection import ConnName, conn_name


class ContestedPairs:
    """By connection, the address that is contested and the peer that would be there."""

    def __init__(self) -> None:
        """Start with none."""
        self._claims: dict[ConnName, tuple[Address, str]] = {}
        self._names: dict[str, tuple[ConnName, ...]] = {}
        """By peer."""

    def put(self, peer: str, pairs: Iterable[Pair]) -> tuple[ConnName, ...]:
        """Set all contested pairs of one peer.

        Returns:
            The names of their connections.
        """
        for name in self._names.pop(peer, ()):
            self._claims.pop(name, None)
        claims = {conn_name(pair): ((pair.type, pair.remote), peer) for pair in pairs}
        self._claims.update(claims)
        if claims:
            self._names[peer] = tuple(claims)
        return tuple(claims)

    def claim(self, name: ConnName) -> tuple[Address, str] | None:
        """The address that a connection leads to, and the peer; None: it is not contested."""
        return self._claims.get(name)
