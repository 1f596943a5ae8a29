# SPDX-License-Identifier: Apache-2.0
"""Shell: the chassis of the networks that rules select, while any are selected."""

from __future__ import annotations

from dataclasses import replace

import ovs.poller

from ovn_ipsec.model.policy import HOLD_S
from ovn_ipsec.ovsdb.session import Session

from .hold import Hold
from .networks import Networks
from .views import SbView


class Members:
    """Ports are monitored only while a rule selects a network; a departed member still counts."""

    def __init__(self, session: Session) -> None:
        """Store the session, of SOUTHBOUND_NETWORKS; it is opened and closed here."""
        self._networks = Networks(session)
        self._hold = Hold(float(HOLD_S))
        self._named: frozenset[str] = frozenset()

    def want(self, named: frozenset[str], hold_s: float) -> None:
        """Monitor the ports of these networks; if there are none, stop monitoring."""
        if not named:
            self._hold = Hold(hold_s)
        self._hold.last(hold_s)
        self._named = named
        self._networks.want(bool(named))

    def receive(self) -> bool:
        """Process what has arrived; returns whether anything may have changed."""
        return self._networks.receive()

    def add_to(self, sb: SbView, now: float) -> SbView:
        """Add memberships and tunnel keys to a view: None while they are not known."""
        if not self._named:
            return sb
        found = topology = None
        if self._networks.known():
            topology = self._networks.topology()
            found = topology.memberships(self._named)
        keys = {
            name: frozenset() if topology is None else topology.vnis(frozenset({name}))
            for name in self._named
        }
        return replace(sb, memberships=self._hold.update(now, found), tunnel_keys=keys)

    def deadline(self) -> float | None:
        """When a membership is due to end, on the clock of `now`."""
        return self._hold.deadline()

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller."""
        self._networks.wait(poller)

    def close(self) -> None:
        """Drop the connection."""
        self._networks.want(False)
