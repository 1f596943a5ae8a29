# SPDX-License-Identifier: Apache-2.0
"""A chassis that is played: it does what a chassis with a controller does at a switch, no more.

It loads its connections in ``prepare``, initiates in ``establish`` at the controller's pace towards
the chassis whose names follow its own, sends ESP where the controller would, looks for ESP when the
controller would, and reports. Its IKE daemon and its agent have a processor each, on which an event
costs what it costs on a chassis that runs the real controller. It knows no failure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from controller.plan.pace import BUCKETS, Kind
from controller.plan.pair.evidence import HEARD_S, LOOK_S
from controller.plan.pair.lifecycle import SWITCH_OUT_S
from ovn_ipsec.model.policy import Auth, Phase, Profile
from ovn_ipsec.model.status import Digest, PairCounts
from ovn_ipsec.schema import report

from .machine import Processor

if TYPE_CHECKING:
    from .cluster import Cluster

CHILDREN = 2
EVENTS = 4
"""Of a pair, for the agent of one end: where it initiates, it starts, each child comes up, and the
peer is heard; at the other end each child comes up, the peer is heard, and time is over."""


class Peer(Protocol):
    """The other end of a pair, as a played chassis sees it."""

    def asked(self, by: Played, child: int) -> None:
        """Take in a request for a child, the first with an IKE_SA."""

    def answered(self, by: Played, child: int) -> None:
        """Take in the answer to one."""

    def hears(self, by: Played) -> None:
        """Take in ESP."""


class Queue:
    """Starts at the controller's pace."""

    def __init__(self, kind: Kind) -> None:
        bucket = BUCKETS[kind]
        self._rate, self._burst = bucket.rate, bucket.burst
        self._level, self._at = bucket.level, 0.0

    def take(self, now: float) -> float:
        """Reserve the next one. Returns its time (see pace.Bucket)."""
        level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._level, self._at = level - 1.0, now
        return now if level >= 1.0 else now + (1.0 - level) / self._rate


class Played:
    """One of them."""

    def __init__(self, cluster: Cluster, name: str, peers: int) -> None:
        """Build it, switched off.

        Args:
            cluster: Around it.
            name: Of the chassis.
            peers: Number of all others.
        """
        self.name, self._peers, self._cluster = name, peers, cluster
        self.daemon, self.agent = Processor(cluster.timeline), Processor(cluster.timeline)
        self._first, self._second = Queue(Kind.FIRST), Queue(Kind.ANSWERED)
        self._later: list[Peer] = []
        """Those towards which it initiates, that follow."""
        self._up_at: dict[Peer, float] = {}
        self._sure: set[Peer] = set()
        """Those that this one initiated towards: they have their end."""
        self._heard: set[Peer] = set()
        self._switched: set[Peer] = set()
        self._encrypted = 0
        self._said = (0, Phase.OFF)

    # --- policy and reports ----------------------------------------------------------------------

    def follow(self, generation: int, phase: Phase) -> None:
        """Obey a policy."""
        if (generation, phase) == self._said:
            return
        self._said = (generation, phase)
        costs = self._cluster.costs
        sweep_s = costs.decide_s * self._peers
        if phase is Phase.PREPARE:
            # Each call waits for its answer.
            sweep_s += (costs.load_s + costs.vici_s) * self._peers
            self.daemon.call(self._cluster.timeline.now, costs.load_s * self._peers)
        elif phase is Phase.ESTABLISH:
            self._later = self._cluster.after(self)
            self._start_next()
        self.agent.job(sweep_s, self._report)

    def _report(self) -> None:
        generation, phase = self._said
        left = self._peers - self._encrypted
        begun = phase not in (Phase.OFF, Phase.PREPARE)
        digest = Digest(
            generation=generation,
            phase=phase,
            counts=PairCounts(encrypted=self._encrypted, pending=left)
            if begun
            else PairCounts(clear=left),
            agent="played",
            profiles=frozenset(Profile),
            auths=frozenset({Auth.CA}),
        )
        self._cluster.write(self.name, report.format_digest(digest))

    # --- pairs -----------------------------------------------------------------------------------

    def _start_next(self) -> None:
        if not self._later:
            return
        peer, timeline = self._later.pop(), self._cluster.timeline

        def start() -> None:
            self._initiate(peer, 0)
            self._start_next()

        timeline.after(self._first.take(timeline.now) - timeline.now, start)

    def _initiate(self, peer: Peer, child: int) -> None:
        half_s = self._cluster.costs.initiator_s / (2 * CHILDREN)

        def order() -> None:
            self.daemon.job(half_s, partial(self._cluster.carry, partial(peer.asked, self, child)))

        self.agent.job(self._cluster.costs.event_s if child == 0 else 0.0, order)

    def asked(self, by: Peer, child: int) -> None:
        """Take in a request for a child, the first with an IKE_SA."""
        whole_s = self._cluster.costs.responder_s / CHILDREN
        self.daemon.job(whole_s, partial(self._answer, by, child))

    def _answer(self, by: Peer, child: int) -> None:
        self._cluster.carry(partial(by.answered, self, child))
        if child == CHILDREN - 1:
            self._come_up(by, sure=False)
        self._note()

    def answered(self, by: Peer, child: int) -> None:
        """Take in the answer to one."""
        half_s = self._cluster.costs.initiator_s / (2 * CHILDREN)
        self.daemon.job(half_s, partial(self._complete, by, child))

    def _complete(self, peer: Peer, child: int) -> None:
        if child == CHILDREN - 1:
            self._come_up(peer, sure=True)
            return
        timeline = self._cluster.timeline

        def go_on() -> None:
            wait_s = self._second.take(timeline.now) - timeline.now
            if wait_s > 0:
                timeline.after(wait_s, partial(self._initiate, peer, child + 1))
            else:
                self._initiate(peer, child + 1)

        self._react(go_on)

    def _come_up(self, peer: Peer, *, sure: bool) -> None:
        timeline = self._cluster.timeline
        if peer in self._up_at:
            return
        self._up_at[peer] = timeline.now
        self._cluster.note_sa()
        if sure:
            self._sure.add(peer)
            self._react(partial(self._switch, peer))
        else:
            timeline.after(SWITCH_OUT_S, partial(self._switch, peer))

    def hears(self, by: Peer) -> None:
        """Take in ESP, if there is what it was sent over."""
        if by in self._up_at and by not in self._heard:
            self._heard.add(by)
            self._look(by)

    def _look(self, peer: Peer) -> None:
        """Notice what was heard when it is next looked for."""
        now, up_at = self._cluster.timeline.now, self._up_at[peer]
        wait_s = LOOK_S
        while up_at + wait_s < now:
            wait_s *= 2
        self._cluster.timeline.after(
            up_at + wait_s - now, partial(self._react, partial(self._notice, peer))
        )

    def _notice(self, peer: Peer) -> None:
        sure = peer in self._sure
        self._switch(peer)
        self._cluster.timeline.after(HEARD_S, self._encrypt)
        if not sure:
            self._note()

    def _switch(self, peer: Peer) -> None:
        if peer not in self._switched:
            self._switched.add(peer)
            self._knock(peer)

    def _knock(self, peer: Peer) -> None:
        """Send ESP, and again until the peer is heard: it may not have its end yet."""
        self._cluster.carry(partial(peer.hears, self))
        if peer not in self._heard:
            timeline = self._cluster.timeline
            since_s = max(LOOK_S, timeline.now - self._up_at[peer])
            timeline.after(since_s, partial(self._knock, peer))

    def _encrypt(self) -> None:
        self._encrypted += 1
        if self._encrypted == self._peers:
            self.agent.job(self._cluster.costs.event_s, self._report)

    def _react(self, then: Callable[[], None]) -> None:
        """Let the agent read the SAs of a pair, and decide."""
        costs = self._cluster.costs
        self.daemon.call(self._cluster.timeline.now, costs.list_one_s)
        self.agent.job(costs.event_s + costs.list_one_s + costs.vici_s, then)

    def _note(self) -> None:
        """Let the agent read the SAs of a pair, and find nothing to do."""
        costs, now = self._cluster.costs, self._cluster.timeline.now
        self.daemon.call(now, costs.list_one_s)
        self.agent.call(now, costs.event_s + costs.list_one_s + costs.vici_s)
