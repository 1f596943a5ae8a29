# SPDX-License-Identifier: Apache-2.0
"""Shell: the connection of each pair as it shall be, made again when its parts change."""

from __future__ import annotations

from collections.abc import Callable

from ovn_ipsec.model.chassis import ChassisName, IpAddress, Pair
from ovn_ipsec.model.policy import Auth

from .plan.agent import Agent
from .plan.ike import SUITES, ConnConfig, ConnName, conn_name
from .plan.proof import Proof
from .plan.world import PairIntent
from .state_dir import StateDir

MakeProofs = Callable[[Pair, tuple[Auth, ...]], tuple[Proof, ...]]


class Configs:
    """Configurations by connection; forgotten when a credential changes."""

    def __init__(self, state: StateDir, proofs: MakeProofs) -> None:
        """Store where reqids and proofs for a peer come from."""
        self._state = state
        self._proofs = proofs
        self._made: dict[ConnName, tuple[tuple[object, ...], ConnConfig]] = {}
        self._known: dict[tuple[ChassisName, IpAddress, tuple[Auth, ...]], tuple[Proof, ...]] = {}

    def clear(self) -> None:
        """Forget all: a credential of ours is another one."""
        self._made.clear()
        self._known.clear()

    def forget(self, peer: str) -> None:
        """Forget what was made for one peer: it has another certificate."""
        for known in [known for known in self._known if known[0] == peer]:
            del self._known[known]

    def drop(self, name: ConnName) -> None:
        """Forget one: its pair is gone."""
        self._made.pop(name, None)

    def has(self, name: ConnName) -> bool:
        """Whether a connection was made for a pair."""
        return name in self._made

    def shared_ids(self) -> frozenset[str]:
        """Ids of the shared keys that some connection uses."""
        return frozenset(
            key.id
            for _, config in self._made.values()
            for proof in config.proofs
            for key in proof.keys
        )

    def make(self, agent: Agent, intent: PairIntent) -> ConnConfig | None:
        """The connection of a pair; None while there is no way to authenticate with its peer."""
        peer, policy = intent.pair.peer, agent.policy
        key = (peer, intent.pair.remote, policy.auth)
        proofs = self._known.get(key)
        if proofs is None:
            proofs = self._known[key] = self._proofs(intent.pair, policy.auth)
        name, suite = conn_name(intent.pair), SUITES[intent.profile]
        if not proofs:
            self._made.pop(name, None)
            return None
        parts = (intent.pair, policy.tuning, suite, proofs)
        made = self._made.get(name)
        if made is not None and made[0] == parts:
            return made[1]
        out, inbound = self._state.reqids(name)
        config = ConnConfig(
            name=name,
            pair=intent.pair,
            local_id=agent.this_chassis,
            remote_id=peer,
            reqid_out=out,
            reqid_in=inbound,
            esp_proposals=suite.esp,
            ike_proposals=suite.ike,
            tuning=policy.tuning,
            proofs=proofs,
        )
        self._made[name] = (parts, config)
        return config
