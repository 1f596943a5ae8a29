# SPDX-License-Identifier: Apache-2.0
"""Shell: the connection of each pair as it shall be, made again when its parts change."""

from __future__ import annotations

from .credential_keeper import CredentialKeeper
from .plan.agent import Agent
from .plan.ike import SUITES, ConnConfig, ConnName, conn_name
from .plan.world import PairIntent
from .state_dir import StateDir


class Configs:
    """Configurations by connection; forgotten when the credential changes."""

    def __init__(self, state: StateDir, credentials: CredentialKeeper) -> None:
        """Store where reqids and the certificate come from."""
        self._state = state
        self._credentials = credentials
        self._made: dict[ConnName, ConnConfig] = {}

    def clear(self) -> None:
        """Forget all: the credential is another one."""
        self._made.clear()

    def drop(self, name: ConnName) -> None:
        """Forget one: its pair is gone."""
        self._made.pop(name, None)

    def make(self, agent: Agent, intent: PairIntent) -> ConnConfig | None:
        """The connection of a pair; None while this chassis has no usable credential."""
        credential = self._credentials.credential
        if credential is None:
            return None
        name, tuning = conn_name(intent.pair), agent.policy.tuning
        suite = SUITES[intent.profile]
        parts = (intent.pair, tuning, suite.ike, suite.esp)
        config = self._made.get(name)
        if config is not None and parts == (
            config.pair,
            config.tuning,
            config.ike_proposals,
            config.esp_proposals,
        ):
            return config
        out, inbound = self._state.reqids(name)
        config = ConnConfig(
            name=name,
            pair=intent.pair,
            local_id=agent.this_chassis,
            remote_id=intent.pair.peer,
            reqid_out=out,
            reqid_in=inbound,
            esp_proposals=suite.esp,
            ike_proposals=suite.ike,
            tuning=tuning,
            certificate_der=credential.certificate_der,
            ca_der=credential.ca_der,
        )
        self._made[name] = config
        return config
