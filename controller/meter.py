# SPDX-License-Identifier: Apache-2.0
"""Shell: collects from the controller what metrics are made of, for the thread that serves them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ovn_ipsec.model.policy import Auth

from . import metrics
from .daemon import Controller
from .plan.credentials.proof import LocalCredentials
from .plan.guard import GuardCounters
from .plan.mtu import inner_mtus

if TYPE_CHECKING:
    from ovn_ipsec.metrics import Exporter

COUNTERS_S = 10.0
"""Between two reads of the guard's counters: libnftables 1.0.6 reads all sets for them, which took
33 ms with 3000 peers that may be clear."""


class Meter:
    """Takes a snapshot of a controller from time to time."""

    def __init__(self, controller: Controller, exporter: Exporter | None, *, peers: bool) -> None:
        """Keep the arguments.

        Args:
            controller: The controller to read.
            exporter: It is given the snapshots; None if metrics are not enabled.
            peers: Whether to make a sample for each pair.
        """
        self._controller, self._exporter, self._peers = controller, exporter, peers
        self._counters_at = float("-inf")
        self._counters: tuple[tuple[str, GuardCounters | None], ...] = ()

    def publish(self) -> None:
        """Hand over what metrics are made of, if it is time."""
        now = self._controller.outside.clock.monotonic()
        if self._exporter is None or not self._exporter.due(now):
            return
        if now >= self._counters_at:
            self._counters_at = now + COUNTERS_S
            self._counters = tuple(self._controller.guard.keeper.counters().items())
        self._exporter.publish(partial(metrics.samples, self._snapshot()), now)

    def _snapshot(self) -> metrics.Snapshot:
        controller, agent = self._controller, self._controller.agent
        chassis = controller.chassis
        credentials = LocalCredentials() if chassis is None else chassis.trust.keys.credentials
        own = {Auth.CA: credentials.ca, Auth.PINNED: credentials.pinned}
        ways = agent.policy.auth if agent is not None else ()
        records = agent.records.values() if agent is not None and self._peers else ()
        mtu = controller.mtu.seen
        inner = inner_mtus(agent, mtu.paths) if agent is not None and self._peers else ()
        return metrics.Snapshot(
            generation=controller.applied.generation,
            phase=controller.applied.phase,
            counts=agent.pair_counts() if agent is not None else None,
            pairs=metrics.pair_states(records),
            certificates=tuple(
                metrics.Validity(auth=way, not_before=c.not_before, not_after=c.not_after)
                for way in ways
                if (c := own.get(way)) is not None
            ),
            guard=self._counters,
            problems=len(controller.problems()),
            ike_up=chassis is not None and chassis.ike.ready,
            connected=controller.connected,
            room=mtu.room,
            inner_mtus=tuple(inner),
        )
