# SPDX-License-Identifier: Apache-2.0
"""Two agents, two IKE daemons that talk to each other, one southbound: the pair as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.apply import apply_steps
from controller.guard.keeper import GuardKeeper
from controller.ike.messages import Section, connection
from controller.ike_link import IkeLink
from controller.plan.agent import Agent, guard_remembers
from controller.plan.ike import CHILDREN, ConnConfig, ConnName, IkeSa, conn_name
from controller.plan.invariants import never_clear
from controller.plan.record import NOTHING_SEEN, Context
from controller.plan.world import PairIntent
from ovn_ipsec.errors import IkeError, NftError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import NO_POLICY, ClusterPolicy, Mode, Phase
from ovn_ipsec.model.status import PairState
from tests import worlds
from tests.fakes.ike import FakeIke
from tests.fakes.kernel import FakeGuardLayer
from tests.worlds import A, B, policy

ROLLOUT = (Phase.PREPARE, Phase.ESTABLISH, Phase.ENFORCE)
OTHER_CHILD = {"in": "out", "out": "in"}


class WiredIke(FakeIke):
    """A daemon whose peer is another one: what one negotiates, both hold."""

    peer: WiredIke

    def initiate(self, name: ConnName, child: str) -> None:
        """Negotiate, if the other end has the mirrored connection."""
        config = self.conns.get(name)
        theirs = self._theirs(config) if config is not None else None
        self.refuses = {} if theirs is not None else {name: "no answer"}
        super().initiate(name, child)
        for sa in [one for one in self.sas.values() if one.conn == name and theirs is not None]:
            self._mirror(sa, theirs)

    def terminate_ike(self, ike_id: int, *, force: bool = False) -> None:
        """Delete at both ends."""
        sa = self.sas.get(ike_id)
        super().terminate_ike(ike_id, force=force)
        for other in [one for one in self.peer.sas.values() if sa and _same(one, sa)]:
            self.peer.drop(other.id)

    def dpd(self) -> None:
        """Give up what the peer does not know any more."""
        for sa in list(self.sas.values()):
            if not any(_same(one, sa) for one in self.peer.sas.values()):
                self.drop(sa.id)

    def _theirs(self, config: ConnConfig) -> ConnConfig | None:
        wanted = (config.pair.remote, config.pair.local)
        found = (c for c in self.peer.conns.values() if (c.pair.local, c.pair.remote) == wanted)
        return next(found, None)

    def _mirror(self, sa: IkeSa, theirs: ConnConfig | None) -> None:
        assert theirs is not None
        old = next((one for one in self.peer.sas.values() if _same(one, sa)), None)
        children = tuple(
            replace(
                child,
                name=OTHER_CHILD[child.name],
                id=child.id + 1_000_000,
                spi_in=child.spi_out,
                spi_out=child.spi_in,
            )
            for child in sa.children
        )
        number = old.id if old is not None else self.peer._take_id()
        mirrored = replace(sa, conn=theirs.name, id=number, initiator=False, children=children)
        self.peer.put(mirrored if old is None else replace(mirrored, initiator=old.initiator))


def _same(one: IkeSa, other: IkeSa) -> bool:
    return one.initiator_spi == other.initiator_spi


class End:
    """One chassis: its agent, daemon, kernel and guard, driven as the daemon's loop does."""

    def __init__(self, name: ChassisName, first_id: int) -> None:
        self.name = name
        self.ike = WiredIke()
        self.ike.next_id = first_id
        self.layers = [FakeGuardLayer(name="nft"), FakeGuardLayer(name="xfrm")]
        self.kernel: set[ConnName] = set()
        self.became_clear: list[str] = []
        self.restart({}, NO_POLICY)

    def restart(self, rows: worlds.Rows, wanted: ClusterPolicy) -> None:
        """Start the controller anew; daemon and kernel live on."""
        self.guard = GuardKeeper(list(self.layers))
        self.found = self.guard.found()
        self.kept = self.found
        self.agent = Agent(self.name)
        self.agent.was_closed = lambda record: guard_remembers(self.found, record)
        self.ike.disconnect()
        self.link = IkeLink(self.ike)
        self.synced = False
        for row, parsed in rows.items():
            self.agent.put_chassis(row, parsed)
        self.agent.put_policy(wanted)

    def config(self, intent: PairIntent) -> ConnConfig:
        """The connection of a pair."""
        return ConnConfig(
            name=conn_name(intent.pair),
            pair=intent.pair,
            local_id=self.name,
            remote_id=intent.pair.peer,
            reqid_out=1,
            reqid_in=2,
            tuning=self.agent.policy.tuning,
            certificate_der=b"certificate",
            ca_der=(b"authority",),
        )

    def step(self, now: float) -> None:
        """One pass of the loop; the invariant is looked at after each step of the plan."""
        self.link.run(self.agent, now)
        self._audit()
        decisions = []
        for name in self.agent.due(now, 64):
            if self.agent.retries(name):
                self.link.look(self.agent, name)
            context = Context(
                phase=self.agent.policy.phase,
                now=now,
                this_chassis=self.name,
                recovering=now < self.link.recovering_until,
                may_start=self.link.ready,
            )
            decision = self.agent.decide(name, self.config, context)
            if decision is not None:
                decisions.append((name, decision))
        self.synced = self.synced or self.agent.idle
        if self.synced:
            self.kept = self.agent.guard(self.kept)
            self.guard.keep(self.kept)
        self.check(now)
        for name, decision in decisions:
            for step in decision.steps if self.link.ready else ():
                seen = self.agent.seen.get(name, NOTHING_SEEN)
                after, failure = apply_steps(self.ike, (step,), seen)
                self.agent.put_seen(name, after)
                self.check(now)
                if failure is not None:
                    self.agent.touch_at(name, now + 1.0)
                    break

    def _audit(self) -> None:
        if self.ike.running:
            up = {name for name in self.ike.conns if self.ike.up(name) >= set(CHILDREN)}
            self.kernel = (
                up
                | {n for n in self.kernel if n not in self.agent.seen}
                | (
                    {n for n in self.kernel if not self.agent.seen.get(n, NOTHING_SEEN).sas}
                    if self.agent.policy.phase not in (Phase.OFF, Phase.RELAX)
                    else set()
                )
            )
        for name in [*self.agent.records]:
            seen = self.agent.seen.get(name, NOTHING_SEEN)
            self.agent.put_seen(name, replace(seen, orphaned=name in self.kernel and not seen.sas))

    def in_force(self) -> list[FakeGuardLayer]:
        """Layers that hold something."""
        return [layer for layer in self.layers if layer.state is not None]

    def check(self, now: float) -> None:
        """At least one layer, or SAs, hold each closed pair."""
        if not self.synced:
            return
        found = [
            never_clear(
                self.agent.records.values(), layer.state, self.agent.seen, self.agent.policy, now
            )
            for layer in self.layers
        ]
        assert () in found, found


class Cluster:
    """Two chassis and the southbound."""

    def __init__(self, rows: worlds.Rows | None = None) -> None:
        self.rows = rows or worlds.two_chassis()
        self.policy = NO_POLICY
        self.now = 100.0
        self.ends = (End(A, 1), End(B, 100_001))
        self.ends[0].ike.peer, self.ends[1].ike.peer = self.ends[1].ike, self.ends[0].ike
        for end in self.ends:
            end.restart(self.rows, self.policy)

    def go(self, phase: Phase, mode: Mode = Mode.REQUIRE, seconds: float = 0.0) -> None:
        """Publish a phase, and let time pass."""
        generation = self.policy.generation + 1
        self.policy = policy(phase, mode, generation=generation)
        for end in self.ends:
            end.agent.put_policy(self.policy)
        self.run(seconds)

    def run(self, seconds: float, pace: float = 0.5) -> None:
        """Let both loops run."""
        until = self.now + seconds
        while self.now < until:
            for end in self.ends:
                end.step(self.now)
            self.now += pace

    def states(self) -> list[set[PairState]]:
        """The states of the pairs at both ends."""
        return [{r.state for r in end.agent.records.values()} for end in self.ends]


def _children(end: End) -> Iterator[Section]:
    for config in end.ike.conns.values():
        body = connection(config)[config.name]
        assert isinstance(body, dict)
        children = body["children"]
        assert isinstance(children, dict)
        yield children


def _selectors(end: End, *, turned: bool) -> set[object]:
    found: set[object] = set()
    for children in _children(end):
        for name, child in children.items():
            assert isinstance(child, dict)
            ends = (str(child["local_ts"]), str(child["remote_ts"]))
            found.add((OTHER_CHILD[name], *ends[::-1]) if turned else (name, *ends))
    return found


@pytest.mark.parametrize(
    "rows", [worlds.two_chassis(), worlds.ipv6(), worlds.dst_port(), worlds.two_encaps()]
)
def test_a_rollout_encrypts_and_its_end_leaves_nothing(rows: worlds.Rows) -> None:
    """Off to enforce and back: selectors mirror, all is encrypted, then nothing is left."""
    cluster = Cluster(rows)
    cluster.go(Phase.OFF, seconds=2)
    cluster.go(Phase.PREPARE, seconds=3)
    a, b = cluster.ends
    assert not a.ike.sas
    assert not b.ike.sas
    assert _selectors(a, turned=False) == _selectors(b, turned=True) != set()
    cluster.go(Phase.ESTABLISH, seconds=15)
    assert [{PairState.ENCRYPTED}] * 2 == cluster.states()
    assert all(r.closed for end in cluster.ends for r in end.agent.records.values())
    assert all(sa.initiator for sa in a.ike.sas.values())
    cluster.go(Phase.ENFORCE, seconds=5)
    assert all(layer.state and not layer.state.may_clear for layer in a.layers + b.layers)
    cluster.go(Phase.RELAX, seconds=10)
    assert a.ike.sas
    assert not a.ike.traps
    cluster.go(Phase.OFF, seconds=10)
    for end in cluster.ends:
        assert [{}, {}, {}, []] == [end.ike.sas, end.ike.conns, end.ike.traps, end.in_force()]


def test_a_passive_end_starts_when_the_initiator_cannot() -> None:
    """One-way firewalls: after the grace time the other end initiates."""
    cluster = Cluster()
    cluster.go(Phase.PREPARE, seconds=3)
    for _ in range(400):
        cluster.ends[0].ike.fail_next("initiate")
    cluster.go(Phase.ENFORCE, seconds=20)
    assert [{PairState.BLOCKED}] * 2 == cluster.states()
    cluster.run(20)
    assert [{PairState.ENCRYPTED}] * 2 == cluster.states()
    assert not any(sa.initiator for sa in cluster.ends[0].ike.sas.values())


def test_a_killed_daemon_leaves_the_pair_encrypted_and_comes_back() -> None:
    """The kernel's SAs carry on, and a restarted daemon negotiates again."""
    cluster = Cluster()
    cluster.go(Phase.ENFORCE, seconds=20)
    a = cluster.ends[0]
    a.ike.crash()
    cluster.run(3)
    assert [{PairState.ENCRYPTED}] * 2 == cluster.states()
    a.ike.start()
    cluster.run(10)
    assert a.ike.up(next(iter(a.ike.conns))) == set(CHILDREN)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["restart", "crash", "start", "stop", "fail", "layer", "flush", "cut", "gone", "back"]
        ),
        st.integers(0, 1),
        st.sampled_from(["load", "install", "uninstall", "initiate", "observe", "open", "unload"]),
        st.sampled_from([0.5, 2.0, 7.0]),
    ),
    max_size=8,
)


def _disturb(cluster: Cluster, what: str, index: int, op: str) -> None:
    end = cluster.ends[index]
    match what:
        case "restart":
            end.restart(cluster.rows, cluster.policy)
        case "crash":
            end.ike.crash()
        case "stop":
            end.ike.stop()
            end.kernel.clear()
        case "start" if not end.ike.running:
            end.ike.start()
        case "fail":
            end.ike.fail_next(op, IkeError("made to fail"))
        case "layer":
            end.layers[0].fail_next("apply", NftError("made to fail"))
        case "flush":
            end.layers[0].flush()
            end.guard.audit()
        case "cut":
            end.ike.disconnect()
        case "gone" | "back":
            other = cluster.ends[1 - index].name
            row = None if what == "gone" else worlds.two_chassis()[other]
            end.agent.put_chassis(other, row)


@settings(max_examples=25)
@given(EVENTS, st.sampled_from([Phase.ESTABLISH, Phase.ENFORCE]), EVENTS)
def test_whatever_happens_it_converges_and_nothing_is_clear(
    early: list[tuple[str, int, str, float]],
    phase: Phase,
    late: list[tuple[str, int, str, float]],
) -> None:
    """Crashes, restarts, failures and lost rows in any order: never clear, encrypted at the end."""
    cluster = Cluster()
    cluster.go(Phase.PREPARE, seconds=1)
    cluster.go(phase)
    for what, index, op, seconds in early:
        _disturb(cluster, what, index, op)
        cluster.run(seconds)
    cluster.go(Phase.ENFORCE)
    for what, index, op, seconds in late:
        _disturb(cluster, what, index, op)
        cluster.run(seconds)
    for index in (0, 1):
        _disturb(cluster, "start", index, "")
        _disturb(cluster, "back", index, "")
    cluster.run(15, pace=1)
    for end in cluster.ends:
        end.ike.dpd()
    cluster.run(80, pace=1)
    assert [{PairState.ENCRYPTED}] * 2 == cluster.states()
    cluster.go(Phase.RELAX, seconds=5)
    cluster.go(Phase.OFF, seconds=15)
    for end in cluster.ends:
        assert [{}, {}, {}, []] == [end.ike.sas, end.ike.conns, end.ike.traps, end.in_force()]
