# SPDX-License-Identifier: Apache-2.0
"""Two agents, two IKE daemons that talk to each other, one southbound: the pair as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.guard.keeper import GuardKeeper
from controller.ike.apply import apply_steps
from controller.ike.keyring import Keyring
from controller.ike.link import IkeLink
from controller.ike.messages import connection
from controller.ike.sections import Section
from controller.plan.agent import Agent
from controller.plan.cluster.world import PairIntent
from controller.plan.connection import (
    CHILDREN,
    OUT,
    SUITES,
    ConnConfig,
    ConnName,
    IkeSa,
    conn_name,
    profile_of,
)
from controller.plan.credentials.proof import Proof
from controller.plan.credentials.suitability import is_signed
from controller.plan.guard import ClearFlow, Direction
from controller.plan.invariants import never_clear
from controller.plan.latch import Former
from controller.plan.pace import Pace
from controller.plan.pair.facts import NOTHING_SEEN, Context
from controller.state_dir import StateDir
from ovn_ipsec.errors import IkeError, NftError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import NO_POLICY, Auth, ClusterPolicy, Mode, Phase, Profile
from ovn_ipsec.model.status import PairState
from tests import worlds
from tests.contracts.ike_backend import ways
from tests.fakes.configs import FakeConfigs, number
from tests.fakes.ike import FakeIke
from tests.fakes.kernel import FakeGuardLayer
from tests.worlds import A, B, policy

ROLLOUT = (Phase.PREPARE, Phase.ESTABLISH, Phase.ENFORCE)
OTHER_CHILD = {"in": "out", "out": "in"}


class WiredIke(FakeIke):
    """A daemon whose peer is another one: what one negotiates, both hold."""

    peer: WiredIke

    def __init__(self) -> None:
        super().__init__()
        self.kernel: set[ConnName] = set()
        """Connections that the kernel holds SAs of: it keeps them when the daemon is killed."""

    def drop(self, ike_id: int) -> None:
        """Take what it made out of the kernel, too."""
        name = self.sas[ike_id].conn
        super().drop(ike_id)
        if not self.up(name):
            self.kernel.discard(name)

    def initiate(self, name: ConnName, child: str) -> None:
        """Negotiate, if the other end has the mirrored connection."""
        config = self.conns.get(name)
        theirs = self._theirs(config) if config is not None else None
        self.refuses = {} if theirs is not None else {name: "no answer"}
        if config and theirs and not _agree(config.proofs[0], theirs.proofs):
            self.refuses = {name: "received AUTHENTICATION_FAILED notify error"}
        if config and theirs and config.ike_proposals != theirs.ike_proposals:
            self.refuses = {name: "received NO_PROPOSAL_CHOSEN notify error"}
        super().initiate(name, child)
        for sa in [one for one in self.sas.values() if one.conn == name and theirs is not None]:
            self._mirror(sa, theirs)

    def terminate_ike(self, ike_id: int, *, force: bool = False) -> None:
        """Delete at both ends."""
        sa = self.sas.get(ike_id)
        super().terminate_ike(ike_id, force=force)
        for other in [one for one in self.peer.sas.values() if sa and _same(one, sa)]:
            self.peer.drop(other.id)

    def terminate_child(self, child_id: int) -> None:
        """Delete at both ends."""
        gone = {c.spi_out for sa in self.sas.values() for c in sa.children if c.id == child_id}
        super().terminate_child(child_id)
        theirs = [c.id for sa in self.peer.sas.values() for c in sa.children if c.spi_in in gone]
        for one in theirs:
            FakeIke.terminate_child(self.peer, one)

    def dpd(self) -> None:
        """Give up what the peer does not know any more."""
        for sa in list(self.sas.values()):
            if not any(_same(one, sa) for one in self.peer.sas.values()):
                self.drop(sa.id)

    def send(self) -> None:
        """Send a packet over the youngest child for that, to the other end's counter."""
        out = [c for sa in self.sas.values() for c in sa.children if c.name == OUT]
        youngest = max(out, key=lambda child: child.id).spi_out
        for sa in list(self.peer.sas.values()):
            taken = tuple(
                replace(c, packets_in=c.packets_in + (c.spi_in == youngest)) for c in sa.children
            )
            self.peer.sas[sa.id] = replace(sa, children=taken)

    def _theirs(self, config: ConnConfig) -> ConnConfig | None:
        wanted = (config.pair.remote, config.pair.local)
        found = (c for c in self.peer.conns.values() if (c.pair.local, c.pair.remote) == wanted)
        return next(found, None)

    def _mirror(self, sa: IkeSa, theirs: ConnConfig | None) -> None:
        assert theirs is not None
        old = next((one for one in self.peer.sas.values() if _same(one, sa)), None)
        known = {child.spi_in: child for child in old.children} if old is not None else {}
        children = tuple(
            known.get(child.spi_out)
            or replace(
                child,
                name=OTHER_CHILD[child.name],
                id=self.peer._take_id(),
                spi_in=child.spi_out,
                spi_out=child.spi_in,
                packets_in=0,
            )
            for child in sa.children
        )
        number = old.id if old is not None else self.peer._take_id()
        mirrored = replace(sa, conn=theirs.name, id=number, initiator=False, children=children)
        self.peer.put(mirrored if old is None else replace(mirrored, initiator=old.initiator))


def _agree(mine: Proof, theirs: Iterable[Proof]) -> bool:
    """Whether the other end answers in the same way, and each takes what the other shows."""
    other = next((proof for proof in theirs if proof.auth is mine.auth), None)
    return other is not None and _accepts(mine, other) and _accepts(other, mine)


def _accepts(one: Proof, other: Proof) -> bool:
    if one.auth is Auth.PSK:
        return other.keys[0].value.reveal() in {key.value.reveal() for key in one.keys}
    if one.auth is Auth.PINNED:
        return other.certificate_der in one.trusted_der
    shown = x509.load_der_x509_certificate(other.certificate_der)
    return any(is_signed(shown, x509.load_der_x509_certificate(ca)) for ca in one.trusted_der)


def _same(one: IkeSa, other: IkeSa) -> bool:
    return one.initiator_spi == other.initiator_spi


class End:
    """One chassis: its agent, daemon, kernel and guard, driven as the daemon's loop does."""

    def __init__(self, name: ChassisName, first_id: int) -> None:
        self.name = name
        self.ike = WiredIke()
        self.ike.next_id = first_id
        self.layers = [FakeGuardLayer(name="nft"), FakeGuardLayer(name="xfrm")]
        self.became_clear: list[str] = []
        self.marks: dict[ConnName, str] = {}
        """On disk."""
        self.knocks = 0
        """Datagrams that are to be sent to the peer's tunnel port."""
        self.every = 0.0
        """Seconds between two passes of a busy chassis."""
        self.last_pass = 0.0
        self.credentials: dict[str, object] = {}
        """What this end proves itself with, where it is not what all have."""
        self.restart({}, NO_POLICY)

    def restart(self, rows: worlds.Rows, wanted: ClusterPolicy) -> None:
        """Start the controller anew; daemon and kernel live on."""
        self.guard = GuardKeeper(list(self.layers))
        self.found = self.guard.found()
        self.kept = self.found
        self.agent = Agent(self.name, FakeConfigs(self.config))
        self.agent.former = Former(guard=self.found)
        self.ike.disconnect()
        known = dict(self.marks)
        keys = Keyring(StateDir(Path("/none")))
        self.link = IkeLink(self.ike, keys, lambda name: known.get(name, ""))
        self.synced = False
        self.pace = Pace()
        for row, parsed in rows.items():
            self.agent.put_chassis(row, parsed)
        self.agent.put(wanted)

    def config(self, intent: PairIntent) -> ConnConfig:
        """The connection of a pair."""
        return ConnConfig(
            name=conn_name(intent.pair),
            pair=intent.pair,
            local_id=self.name,
            remote_id=intent.pair.peer,
            reqid_out=1,
            reqid_in=2,
            ike_proposals=SUITES[intent.profile].ike,
            esp_proposals=SUITES[intent.profile].esp,
            tuning=self.agent.policy.tuning,
            proofs=ways(self.name, intent.pair.peer, *self.agent.policy.auth, **self.credentials),
        )

    def step(self, now: float) -> None:
        """One pass of the loop; the invariant is looked at after each step of the plan."""
        self.ike.clock = now
        self.link.sync(self.agent, now)
        self._audit()
        decisions = []
        number(self.agent)
        for name in self.agent.due(now, 64):
            context = Context(
                phase=self.agent.policy.phase,
                now=now,
                this_chassis=self.name,
                recovering=now < self.link.recovering_until,
                daemon_ready=self.link.ready,
                slots=self.pace.slots(now),
                profiles=frozenset(Profile) if self.agent.able is None else self.agent.able,
                quarantine=self.agent.policy.quarantine,
            )
            if self.agent.retries(name, context):
                self.link.look(self.agent, name)
            decision = self.agent.decide(name, context)
            if decision is not None:
                self.marks.update({name: decision.mark} if decision.mark else {})
                self.pace = self.pace.take(decision.took, now) if decision.took else self.pace
                decisions.append((name, decision))
        self.synced = self.synced or self.agent.idle
        if self.synced:
            self.kept = self.agent.guard(self.kept)
            self.guard.keep(self.kept)
        self.check(now)
        self.knocks = sum(decision.knock for _, decision in decisions)
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
            self.ike.kernel |= up
        for name in [*self.agent.records]:
            seen = self.agent.seen.get(name, NOTHING_SEEN)
            self.agent.put_seen(
                name, replace(seen, orphaned=name in self.ike.kernel and not seen.sas)
            )

    def in_force(self) -> list[FakeGuardLayer]:
        """Layers that hold something."""
        return [layer for layer in self.layers if layer.state is not None]

    def clear(self) -> set[Direction]:
        """The directions that the guard lets pass in clear; all without one."""
        state = self.layers[1].state
        flows: set[ClearFlow] = set(state.may_clear) if state is not None else set()
        return {flow.direction for flow in flows} if state is not None else set(Direction)

    def sends(self) -> str:
        """How packets leave: without a guard as the IKE daemon's policies say."""
        if self.layers[1].state is None:
            return (
                "ESP"
                if any(self.ike.up(name) >= set(CHILDREN) for name in self.ike.conns)
                else "clear"
            )
        return "clear" if Direction.OUT in self.clear() else "ESP"

    def takes(self, how: str) -> bool:
        """Whether packets that come so are let in."""
        if how == "ESP":
            return all(self.ike.up(name) >= set(CHILDREN) for name in self.agent.records)
        if self.layers[1].state is None:
            return self.sends() == "clear"
        return Direction.IN in self.clear()

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
        self.talk = {A: True, B: True}
        """Whether there is traffic from a chassis."""
        self.hush = False
        """Whether knocks get lost."""
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

    def publish(
        self, wanted: ClusterPolicy, rows: worlds.Rows | None = None, apart: float = 0.0
    ) -> None:
        """One transaction of northd_ext; the second end sees it so many seconds later."""
        self.policy, self.rows = wanted, rows or self.rows
        for index, end in enumerate(self.ends):
            end.agent.put(wanted, self.rows.items())
            if index == 0:
                self.run(apart)

    def run(self, seconds: float, pace: float = 0.5) -> None:
        """Let both loops run."""
        until = self.now + seconds
        while self.now < until:
            for end in self.ends:
                if self.now >= end.last_pass + end.every:
                    end.last_pass = self.now
                    end.step(self.now)
                self.look()
                self._flow()
            self.now += pace

    def _flow(self) -> None:
        """Let packets of all who send ESP arrive at the counters."""
        for end in self.ends:
            knocks, end.knocks = end.knocks and not self.hush, 0
            up = any(end.ike.up(name) >= set(CHILDREN) for name in end.ike.conns)
            if (self.talk[end.name] or knocks) and end.sends() == "ESP" and up:
                end.ike.send()

    def look(self) -> None:
        """What is to hold whenever somebody looks; tests that watch something replace it."""

    def lost(self) -> list[str]:
        """Directions in which a packet that is sent now would be dropped."""
        found = []
        for sender, receiver in (self.ends, self.ends[::-1]):
            how = sender.sends()
            if not receiver.takes(how) or (how == "ESP" and not sender.takes(how)):
                found.append(f"{self.now}: {sender.name} sends {how}")
        return found

    def states(self) -> list[set[PairState]]:
        """The states of the pairs at both ends."""
        return [{r.state for r in end.agent.records.values()} for end in self.ends]


def _children(end: End) -> Iterator[Section]:
    for config in end.ike.conns.values():
        body = connection(config, config.proofs[0])[config.name]
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
            end.ike.kernel.clear()
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


@pytest.mark.slow
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


def classes(
    phase: Phase = Phase.ENFORCE, generation: int = 10, profile: str = "default", **pairs: str
) -> ClusterPolicy:
    """A policy with a matrix."""
    said = policy(phase, generation=generation)
    return replace(said, pairs=worlds.matrix(**pairs), profile=Profile(profile))


def enforced(wanted: ClusterPolicy, rows: worlds.Rows | None = None) -> Cluster:
    """A cluster that has come there in order."""
    cluster = Cluster(rows or worlds.two_classes("prod", "prod"))
    for phase in ROLLOUT:
        cluster.publish(replace(wanted, phase=phase))
        cluster.run(20)
    return cluster


def watched(cluster: Cluster) -> list[str]:
    """Collect what would be lost from now on."""
    found: list[str] = []
    cluster.look = lambda: found.extend(cluster.lost())  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("apart", [0.0, 1.0, 7.0])
@pytest.mark.parametrize("turned", [False, True])
def test_a_profile_changes_on_a_live_pair_without_a_loss(apart: float, turned: bool) -> None:
    """Whoever hears of it first: encrypted all the time, and in the end with the new suite only."""
    cluster = enforced(classes())
    if turned:
        cluster.ends = cluster.ends[::-1]
    lost = watched(cluster)
    for generation, profile in enumerate(("cnsa", "chacha20", "cnsa", "default"), 11):
        cluster.publish(classes(generation=generation, profile=profile), apart=apart)
        cluster.run(35)
        assert [{PairState.ENCRYPTED}] * 2 == cluster.states()
        for end in cluster.ends:
            assert [Profile(profile)] == [profile_of(sa) for sa in end.ike.sas.values()]
    assert [] == lost


def test_a_profile_that_flips_back_at_once_ends_with_what_was() -> None:
    """And with no SA of the other one."""
    cluster = enforced(classes())
    lost = watched(cluster)
    cluster.publish(classes(generation=11, profile="cnsa"))
    cluster.run(1)
    cluster.publish(classes(generation=12))
    cluster.run(30)
    for end in cluster.ends:
        assert [Profile.DEFAULT] == [profile_of(sa) for sa in end.ike.sas.values()]
    assert [] == lost


def test_a_profile_that_one_daemon_cannot_do_comes_up_nowhere_weaker() -> None:
    """Blocked at that end and named; the other goes on trying; the old SAs carry on meanwhile."""
    cluster = enforced(classes())
    lost = watched(cluster)
    cluster.publish(classes(generation=11, profile="pq"))
    cluster.run(20)
    assert [{PairState.BLOCKED}] * 2 == cluster.states()
    for end in cluster.ends:
        assert {} == end.ike.conns
        assert ["pq" in record.error for record in end.agent.records.values()] == [True]
        assert [Profile.DEFAULT] == [profile_of(sa) for sa in end.ike.sas.values()]
    cluster.publish(classes(generation=12))
    cluster.run(20)
    assert [{PairState.ENCRYPTED}] * 2 == cluster.states()
    assert [] == lost


@pytest.mark.parametrize("apart", [0.0, 2.0])
@pytest.mark.parametrize("turned", [False, True])
def test_a_class_opens_and_closes_a_pair_without_a_loss(apart: float, turned: bool) -> None:
    """Under enforce, without a phase: with a generation one way, at any time the other."""
    cluster = enforced(classes(lab_prod="off"))
    if turned:
        cluster.ends = cluster.ends[::-1]
    lost = watched(cluster)
    lab = worlds.two_classes("lab", "prod")
    cluster.publish(classes(generation=11, lab_prod="off"), lab, apart)
    cluster.run(40)
    assert [{PairState.CLEAR}] * 2 == cluster.states()
    for end in cluster.ends:
        assert set(Direction) == end.clear()
        assert [{}, {}, {}] == [end.ike.sas, end.ike.conns, end.ike.traps]
    prod = worlds.two_classes("prod", "prod")
    cluster.publish(classes(generation=11, lab_prod="off"), prod, apart)
    cluster.run(40)
    assert [{PairState.ENCRYPTED}] * 2 == cluster.states()
    assert all(end.clear() == set() for end in cluster.ends)
    assert [] == lost


def test_a_class_that_closes_a_pair_which_does_not_come_up_closes_it_in_time() -> None:
    """Thirty seconds, and not a step later."""
    cluster = enforced(classes(lab_prod="off"), worlds.two_classes("lab", "prod"))
    cluster.ends[1].ike.stop()
    cluster.publish(classes(lab_prod="off"), worlds.two_classes("prod", "prod"))
    cluster.run(29)
    assert [{PairState.PENDING}] * 2 == cluster.states()
    cluster.run(3)
    assert [{PairState.BLOCKED}] * 2 == cluster.states()
    assert all(end.clear() == set() for end in cluster.ends)


def test_a_pair_that_is_closed_again_before_its_sas_are_gone_loses_nothing() -> None:
    """Off and on within seconds."""
    cluster = enforced(classes(lab_prod="off"))
    lost = watched(cluster)
    cluster.publish(classes(generation=11, lab_prod="off"), worlds.two_classes("lab", "prod"))
    cluster.run(6)
    cluster.publish(classes(generation=11, lab_prod="off"), worlds.two_classes("prod", "prod"))
    cluster.run(40)
    assert [{PairState.ENCRYPTED}] * 2 == cluster.states()
    assert [] == lost


LABELS = st.lists(
    st.tuples(
        st.sampled_from(["label", "mute", "raise", "profile", "crash", "start", "restart", "fail"]),
        st.integers(0, 1),
        st.sampled_from(["lab", "prod", "new"]),
        st.sampled_from([0.5, 3.0, 15.0]),
    ),
    max_size=10,
)


@pytest.mark.slow
@settings(max_examples=25)
@given(LABELS)
def test_whatever_rows_say_a_pair_is_never_clear_that_must_not_be(
    events: list[tuple[str, int, str, float]],
) -> None:
    """Labels come, go and lie; the truth with a new generation puts it right."""
    pairs = {"lab_prod": "off", "lab_lab": "prefer/cnsa", "prod_prod": "require/chacha20"}
    cluster = enforced(classes(**pairs))
    for what, index, label, seconds in events:
        name = (A, B)[index]
        mode = "" if what == "mute" else "require"
        row = worlds.labelled(name, f"10.0.0.{index + 1}", label if mode else "", mode)
        said = cluster.policy
        if what in ("raise", "profile"):
            said = replace(said, generation=said.generation + 1)
        if what == "profile":
            said = replace(said, profile=Profile.CNSA)
        if what in ("label", "mute", "raise"):
            cluster.publish(said, {**cluster.rows, name: row})
        elif what == "profile":
            cluster.publish(said)
        else:
            _disturb(cluster, what, index, "initiate")
        cluster.run(seconds)
    for end in cluster.ends:
        if not end.ike.running:
            end.ike.start()
    truth = classes(generation=cluster.policy.generation + 1, **pairs)
    cluster.publish(truth, worlds.two_classes("prod", "prod"))
    cluster.run(15, pace=1)
    for end in cluster.ends:
        end.ike.dpd()
    cluster.run(80, pace=1)
    assert [{PairState.ENCRYPTED}] * 2 == cluster.states()
    for end in cluster.ends:
        assert {Profile.CHACHA20} == {profile_of(sa) for sa in end.ike.sas.values()}
    cluster.publish(replace(truth, generation=99), worlds.two_classes("lab", "prod"))
    cluster.run(40, pace=1)
    assert [{PairState.CLEAR}] * 2 == cluster.states()
