# SPDX-License-Identifier: Apache-2.0
"""Connections for an agent, without credentials and without a disk."""

from __future__ import annotations

from collections.abc import Callable

from controller.plan.agent import Agent
from controller.plan.cluster.world import PairIntent
from controller.plan.configs import Reqids
from controller.plan.connection import ConnConfig, ConnName
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import ClusterPolicy


class FakeConfigs:
    """Makes what a function says."""

    def __init__(self, make: Callable[[PairIntent], ConnConfig | None]) -> None:
        self._make = make
        self.dropped: list[ConnName] = []

    def make(
        self, this: ChassisName, intent: PairIntent, policy: ClusterPolicy, reqids: Reqids
    ) -> ConnConfig | None:
        """See MakesConfigs."""
        return self._make(intent)

    def drop(self, name: ConnName) -> None:
        """See MakesConfigs."""
        self.dropped.append(name)

    def pins_of(self, peer: str) -> tuple[bytes, ...]:
        """See MakesConfigs."""
        return ()

    def lack(self, policy: ClusterPolicy, peer: ChassisName) -> str:
        """See MakesConfigs."""
        return ""

    def shared_ids(self) -> frozenset[str]:
        """See MakesConfigs."""
        return frozenset()


def number(agent: Agent) -> None:
    """Give out reqids as the shell does, the same for all."""
    for name in agent.unnumbered():
        agent.put_reqids(name, (1, 2))
