# SPDX-License-Identifier: Apache-2.0
"""Pure: the wanted connection of each pair, made again when one of its parts changes.

The parts are values that are put in: the credentials of this chassis, the certificates that peers
have published, the peers for which the secret is used directly, and the pair's policy and reqids.
"""

from __future__ import annotations

from typing import Protocol

from ovn_ipsec.model.chassis import ChassisName, Pair
from ovn_ipsec.model.policy import Auth, ClusterPolicy

from .cluster.world import PairIntent
from .connection import SUITES, ConnConfig, ConnName, conn_name
from .credentials.pins import KEY
from .credentials.proof import LocalCredentials, Proof, in_plain, proofs

Reqids = tuple[int, int]
"""Of the children out and in."""


class MakesConfigs(Protocol):
    """Makes the connections of an Agent's pairs."""

    def make(
        self, this: ChassisName, intent: PairIntent, policy: ClusterPolicy, reqids: Reqids
    ) -> ConnConfig | None:
        """The connection of a pair; None if there is no way to authenticate with its peer."""

    def drop(self, name: ConnName) -> None:
        """Forget one, because its pair is gone."""

    def pins_of(self, peer: str) -> tuple[bytes, ...]:
        """Valid certificates that a peer has published, DER, the newest first."""

    def lack(self, policy: ClusterPolicy, peer: ChassisName) -> str:
        """Why there is no way to authenticate with a peer."""

    def shared_ids(self) -> frozenset[str]:
        """Ids of the shared keys that some connection uses."""


class Configs:
    """Configurations by connection, and the credentials that they are made from."""

    def __init__(self) -> None:
        self._credentials = LocalCredentials()
        self._pins: dict[str, tuple[bytes, ...]] = {}
        self._plain: frozenset[ChassisName] = frozenset()
        self._made: dict[ConnName, tuple[tuple[object, ...], ConnConfig]] = {}
        self._proofs: dict[tuple[ChassisName, tuple[Auth, ...]], tuple[Proof, ...]] = {}

    def put_credentials(
        self, credentials: LocalCredentials, plain: frozenset[ChassisName] = frozenset()
    ) -> bool:
        """Set what this chassis authenticates with and what it demands of peers.

        Args:
            credentials: All of it.
            plain: Peers for which the secret is used directly as the key.

        Returns:
            Whether that is news: then every pair has to be decided.
        """
        if (credentials, plain) == (self._credentials, self._plain):
            return False
        self._credentials, self._plain = credentials, plain
        self._proofs.clear()
        return True

    def put_pins(self, peer: str, found: tuple[bytes, ...]) -> bool:
        """Set the valid certificates that a peer has published, DER.

        Returns:
            Whether they have changed: then the pairs with it have to be decided.
        """
        if self._pins.get(peer, ()) == found:
            return False
        if found:
            self._pins[peer] = found
        else:
            del self._pins[peer]
        for key in [key for key in self._proofs if key[0] == peer]:
            del self._proofs[key]
        return True

    def pins_of(self, peer: str) -> tuple[bytes, ...]:
        """Valid certificates that a peer has published, DER, the newest first."""
        return self._pins.get(peer, ())

    def drop(self, name: ConnName) -> None:
        """Forget one, because its pair is gone."""
        self._made.pop(name, None)

    def shared_ids(self) -> frozenset[str]:
        """Ids of the shared keys that some connection uses."""
        return frozenset(
            key.id
            for _, config in self._made.values()
            for proof in config.proofs
            for key in proof.keys
        )

    def lack(self, policy: ClusterPolicy, peer: ChassisName) -> str:
        """Why there is no way to authenticate with a peer."""
        if policy.auth == (Auth.PINNED,) and self._credentials.pinned is not None:
            return f"{peer} has published no certificate that can be pinned (Chassis {KEY})"
        return f"this chassis has nothing to authenticate with: {', '.join(policy.auth)}"

    def make(
        self, this: ChassisName, intent: PairIntent, policy: ClusterPolicy, reqids: Reqids
    ) -> ConnConfig | None:
        """The connection of a pair; None if there is no way to authenticate with its peer."""
        name, suite = conn_name(intent.pair), SUITES[intent.profile]
        found = self._found(this, intent.pair, policy.auth)
        if not found:
            self._made.pop(name, None)
            return None
        parts = (this, intent.pair, policy.tuning, suite, found, reqids)
        made = self._made.get(name)
        if made is not None and made[0] == parts:
            return made[1]
        config = ConnConfig(
            name=name,
            pair=intent.pair,
            local_id=this,
            remote_id=intent.pair.peer,
            reqid_out=reqids[0],
            reqid_in=reqids[1],
            esp_proposals=suite.esp,
            ike_proposals=suite.ike,
            tuning=policy.tuning,
            proofs=found,
        )
        self._made[name] = (parts, config)
        return config

    def _found(self, this: ChassisName, pair: Pair, ways: tuple[Auth, ...]) -> tuple[Proof, ...]:
        """The proofs, made once for a peer, whatever addresses it has had."""
        key, credentials = (pair.peer, ways), self._credentials
        found = self._proofs.get(key)
        if found is None:
            found = proofs(credentials, ways, this, pair.peer, self._pins.get(pair.peer, ()))
            self._proofs[key] = found
        if pair.peer in self._plain and credentials.secrets:
            return in_plain(found, credentials.secrets[0], pair.remote)
        return found
