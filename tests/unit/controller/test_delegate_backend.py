# SPDX-License-Identifier: Apache-2.0
"""What is seen and done of an IKE daemon that a stock ovs-monitor-ipsec drives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from controller.ike.choice import IkeChoice
from controller.ike.conflict import LOOK_S, MISSING, ConflictWatch
from controller.ike.delegate import FRESH_S, IDLE_S, REST, SOON_S, Delegate
from controller.ike.kernel_sas import held, sas_of
from controller.kernel.tables import KernelEvents
from controller.kernel.watch import KernelWatch
from controller.plan.cluster.world import PairIntent
from controller.plan.connection import ABLE, CHILDREN, IN, OUT, IkeSa
from controller.plan.credentials.credential import Credential, Secret
from controller.plan.credentials.proof import LocalCredentials
from controller.plan.pair.facts import ConnSeen, Context
from controller.plan.pair.lifecycle import decide
from controller.plan.pair.record import Decision, PairRecord
from controller.plan.pair.steps import Initiate, Load
from controller.report import delegate_problem
from controller.state_dir import FIRST_REQID, StateDir
from controller.xfrm.messages import Request, acquire
from controller.xfrm.socket import XfrmEventSocket, XfrmSocket
from controller.xfrm.values import (
    NO_EVENTS,
    Action,
    Mode,
    PolicyDirection,
    XfrmEvents,
    XfrmPolicy,
    XfrmState,
)
from ovn_ipsec.errors import EdgeError, IkeError, XfrmError
from ovn_ipsec.model.ike import IkesHere
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import Auth, Phase, Profile, Revocation
from ovn_ipsec.model.policy import Mode as Wanted
from ovn_ipsec.model.status import PairState
from tests import worlds
from tests.contracts.ike_backend import der, identity, key_id, secret
from tests.unit.controller.test_agent_plan import CONFIG, NAME, agent_of, esp_policy, settle, state
from tests.unit.controller.test_pair_plan import at, kept, kinds

PAIR = CONFIG.pair
CERTIFICATE, KEY = identity("chA")
OWN = Credential(
    certificate_der=der(CERTIFICATE),
    key_id=key_id(KEY),
    ca_der=(),
    not_before=CERTIFICATE.not_valid_before_utc,
    not_after=CERTIFICATE.not_valid_after_utc,
    names=("chA",),
    subject="CN=chA",
    fingerprint="1",
)
NOW = 1_000_000.0
OUT_POLICY, IN_POLICY = esp_policy(PolicyDirection.OUT), esp_policy(PolicyDirection.IN)
OUT_SA, IN_SA = state(0x11, 1, inbound=False), state(0x12, 1, inbound=True)
BOTH = (OUT_SA, IN_SA)
NEW = PairRecord(name=NAME, pair=PAIR)


def seen(policies: tuple[XfrmPolicy, ...], states: tuple[XfrmState, ...]) -> tuple[IkeSa, ...]:
    return sas_of(held(policies, states), NAME, PAIR, NOW)


def with_reqid(policy: XfrmPolicy, reqid: int) -> XfrmPolicy:
    return replace(policy, templates=(replace(policy.templates[0], reqid=reqid),))


# --- the kernel's tables -------------------------------------------------------------------------


def test_a_child_is_up_with_its_policy_and_an_sa_in_each_direction() -> None:
    """Each of the two by itself, under one IKE_SA."""
    made = (replace(OUT_SA, made_at=5), replace(IN_SA, made_at=999_990, packets=7))
    (sa,) = seen((OUT_POLICY, IN_POLICY), made)
    assert (sa.conn, sa.id, sa.state, sa.established_s) == (NAME, 0x12, "ESTABLISHED", 10)
    assert [(child.name, child.packets_in) for child in sa.children] == [(OUT, 7), (IN, 7)]
    assert {(child.spi_in, child.spi_out, child.reqid) for child in sa.children} == {
        (0x12, 0x11, 1)
    }
    (alone,) = seen((OUT_POLICY,), BOTH)
    assert [child.name for child in alone.children] == [OUT]
    assert ConnSeen(sas=(sa,)).up
    assert not ConnSeen(sas=(alone,)).up


@pytest.mark.parametrize(
    ("policies", "states"),
    [
        ((), BOTH),
        ((OUT_POLICY,), ()),
        ((OUT_POLICY,), (OUT_SA,)),
        ((OUT_POLICY,), (IN_SA,)),
        ((OUT_POLICY,), (replace(OUT_SA, spi=0), IN_SA)),
        ((OUT_POLICY,), (replace(OUT_SA, proto=51), IN_SA)),
        ((OUT_POLICY,), (replace(OUT_SA, mode=Mode.TUNNEL), IN_SA)),
        ((OUT_POLICY,), (replace(OUT_SA, reqid=2), IN_SA)),
        ((replace(OUT_POLICY, action=Action.BLOCK),), BOTH),
        ((with_reqid(OUT_POLICY, 2),), BOTH),
        ((esp_policy(PolicyDirection.OUT, 4789),), BOTH),
    ],
)
def test_half_of_it_is_nothing(
    policies: tuple[XfrmPolicy, ...], states: tuple[XfrmState, ...]
) -> None:
    """A trap, an attempt, another port: none of them encrypts."""
    assert seen(policies, states) == ()


def test_of_two_that_were_made_the_last_one_counts() -> None:
    """The other is being retired."""
    younger = (replace(OUT_SA, spi=0x21, made_at=9), replace(IN_SA, spi=0x22, made_at=9))
    for states in ((*BOTH, *younger), (*younger, *BOTH)):
        (sa,) = seen((OUT_POLICY, with_reqid(OUT_POLICY, 0)), states)
        assert [(child.spi_in, child.spi_out) for child in sa.children] == [(0x22, 0x21)]


# --- the edge ------------------------------------------------------------------------------------


class Kernel(XfrmSocket):
    """Tables that the test fills, and how often they were read."""

    def __init__(self) -> None:
        super().__init__()
        self.policies: tuple[XfrmPolicy, ...] = ()
        self.states: tuple[XfrmState, ...] = ()
        self.reads = 0
        self.fault = False
        self.sent: list[Request] = []
        self.slowed: Callable[[], None] = lambda: None
        """Called while the tables are read."""

    def send(self, requests: Iterable[Request], *, ignore: frozenset[int] = frozenset()) -> None:
        """Keep them."""
        assert not ignore
        found = list(requests)
        if self.fault:
            raise XfrmError("refused", errno=1)
        self.sent += found

    def dump_policies(self) -> tuple[XfrmPolicy, ...]:
        """Give them."""
        self.reads += 1
        self.slowed()
        if self.fault:
            raise XfrmError("refused", errno=1)
        return self.policies

    def dump_states(self) -> tuple[XfrmState, ...]:
        """Give them."""
        return self.states


class Happenings(XfrmEventSocket):
    """What happened, as the test says."""

    def __init__(self, *, missing: bool = False) -> None:
        super().__init__()
        self.waiting = NO_EVENTS
        self._missing = missing

    def open(self) -> Happenings:
        """Refuse, if it is missing."""
        if self._missing:
            raise EdgeError("no such group")
        return self

    def fileno(self) -> int:
        """No real one."""
        return -1 if self._missing else 77

    def drain(self, *, own_ports: frozenset[int] = frozenset()) -> XfrmEvents:
        """Give it once."""
        assert not own_ports
        found, self.waiting = self.waiting, NO_EVENTS
        return found


class Bench:
    """A Delegate beside a kernel in memory; time is the test's."""

    def __init__(self, *, missing: bool = False) -> None:
        self.now = 100.0
        self.kernel, self.events = Kernel(), Happenings(missing=missing)
        self.backend = Delegate(self.kernel, self.events, lambda: self.now)

    def opened(self) -> Bench:
        """Open it, and take the first news."""
        self.backend.open()
        assert self.backend.drain().lost
        return self


@pytest.fixture
def bench() -> Bench:
    """One that is open."""
    return Bench().opened()


def test_what_is_loaded_is_seen_as_the_kernel_has_it(bench: Bench) -> None:
    """And what is not loaded is nobody's."""
    bench.kernel.policies, bench.kernel.states = (OUT_POLICY, IN_POLICY), BOTH
    bench.now += FRESH_S
    assert bench.backend.observe_sas(NAME) == Known(())
    bench.backend.load(CONFIG)
    found = bench.backend.observe()
    assert isinstance(found, Known)
    assert (found.value.conns, found.value.profiles) == ({NAME}, {Profile.DEFAULT})
    assert {child.name for sa in found.value.sas[NAME] for child in sa.children} == set(CHILDREN)
    bench.backend.unload(NAME)
    bench.backend.unload(NAME)
    bench.now += FRESH_S
    found = bench.backend.observe()
    assert isinstance(found, Known)
    assert (found.value.conns, found.value.sas.keys()) == (frozenset(), {NAME})
    bench.kernel.states = ()
    bench.now += FRESH_S
    assert bench.backend.observe_sas(NAME) == Known(())
    bench.kernel.states = BOTH
    bench.now += FRESH_S
    assert bench.backend.observe_sas(NAME) == Known(())


def test_a_pair_is_said_to_be_authenticated_as_it_was_loaded(bench: Bench) -> None:
    """The kernel shows nothing of it, and a port names one method only."""
    bench.kernel.policies, bench.kernel.states = (OUT_POLICY, IN_POLICY), BOTH
    for auth in (Auth.PINNED, Auth.CA):
        proofs = tuple(replace(proof, auth=auth) for proof in CONFIG.proofs)
        bench.backend.load(replace(CONFIG, proofs=proofs))
        bench.now += FRESH_S
        found = bench.backend.observe_sas(NAME)
        assert isinstance(found, Known)
        assert {sa.auth for sa in found.value} == {auth}


def test_a_change_is_told_once_and_soon(bench: Bench) -> None:
    """The kernel says that there is one, and the tables say which."""
    bench.backend.load(CONFIG)
    assert bench.backend.drain().conns == frozenset()
    assert bench.backend.wake_at() == bench.now + IDLE_S
    reads = bench.kernel.reads
    bench.kernel.policies, bench.kernel.states = (OUT_POLICY, IN_POLICY), BOTH
    bench.events.waiting = replace(NO_EVENTS, sa_added=True)
    assert bench.backend.drain().conns == frozenset()
    assert (bench.kernel.reads, bench.backend.wake_at()) == (reads, bench.now + SOON_S)
    bench.now += SOON_S
    assert bench.backend.drain().conns == {NAME}
    assert bench.backend.drain().conns == frozenset()
    bench.backend.unload(NAME)
    assert bench.backend.drain().conns == frozenset()
    bench.kernel.states = ()
    bench.events.waiting = replace(NO_EVENTS, sa_deleted=True)
    bench.now += SOON_S
    assert bench.backend.drain().conns == {NAME}


def test_a_look_serves_the_questions_of_a_moment(bench: Bench) -> None:
    """Each reads two whole tables."""
    reads = bench.kernel.reads
    for _ in range(3):
        bench.backend.observe_sas(NAME)
    assert bench.kernel.reads == reads
    bench.now += FRESH_S
    bench.backend.observe_sas(NAME)
    assert bench.kernel.reads == reads + 1


def test_large_tables_are_read_a_part_of_the_time_only(bench: Bench) -> None:
    """However many changes there are, and whoever asks: a look is followed by a longer rest."""
    took = 1.0

    def pass_time() -> None:
        bench.now += took

    bench.kernel.slowed = pass_time
    bench.now += IDLE_S
    begin, reads = bench.now, bench.kernel.reads
    asks: tuple[Callable[[], object], ...] = (
        bench.backend.drain,
        lambda: bench.backend.observe_sas(NAME),
        lambda: bench.backend.load(CONFIG),
        lambda: bench.backend.unload(NAME),
    )
    while bench.now < begin + 100:
        bench.events.waiting = replace(NO_EVENTS, sa_added=True)
        for ask in asks:
            ask()
        bench.now += SOON_S / 2
    assert 100 / (took + REST + SOON_S) <= bench.kernel.reads - reads <= 100 / (took + REST) + 1
    due = bench.backend.wake_at()
    assert due is not None
    bench.now = max(bench.now, due)
    bench.kernel.policies, bench.kernel.states = (OUT_POLICY, IN_POLICY), BOTH
    bench.backend.load(CONFIG)
    assert bench.backend.drain().conns == {NAME}


def test_tables_that_cannot_be_read_are_unknown_and_not_empty(bench: Bench) -> None:
    """Until they can be."""
    bench.backend.load(CONFIG)
    bench.kernel.fault = True
    bench.now += IDLE_S
    assert bench.backend.drain().lost
    assert not bench.backend.connected
    assert (bench.backend.fileno(), bench.backend.wake_at()) == (-1, None)
    assert isinstance(bench.backend.observe(), Unknown)
    assert isinstance(bench.backend.observe_sas(NAME), Unknown)
    for use in (bench.backend.load, bench.backend.unload):
        with pytest.raises(IkeError):
            use(CONFIG)  # type: ignore[arg-type]
    assert bench.backend.drain().conns == frozenset()
    with pytest.raises(IkeError, match="refused"):
        bench.backend.open()
    bench.kernel.fault = False
    bench.backend.open()
    bench.backend.open()
    found = bench.backend.observe()
    assert isinstance(found, Known)
    assert found.value.conns == {NAME}
    assert bench.backend.fileno() == 77


def test_without_events_it_looks_from_time_to_time() -> None:
    """Changes are seen later then."""
    bench = Bench(missing=True).opened()
    bench.backend.load(CONFIG)
    bench.backend.drain()
    bench.kernel.policies, bench.kernel.states = (OUT_POLICY, IN_POLICY), BOTH
    assert bench.backend.drain().conns == frozenset()
    bench.now += IDLE_S
    assert bench.backend.drain().conns == {NAME}
    bench.backend.close()
    bench.backend.close()
    assert not bench.backend.connected


def test_to_initiate_is_to_have_the_kernel_ask_for_an_sa(bench: Bench) -> None:
    """By the policy that it has for what is sent; the other half is the peer's to begin."""
    with pytest.raises(IkeError, match="not loaded"):
        bench.backend.initiate(NAME, OUT)
    bench.backend.load(CONFIG)
    bench.backend.initiate(NAME, OUT)
    bench.kernel.policies = (IN_POLICY,)
    bench.now += FRESH_S
    bench.backend.observe()
    bench.backend.initiate(NAME, OUT)
    assert bench.kernel.sent == []
    bench.kernel.policies = (OUT_POLICY,)
    bench.now += FRESH_S
    bench.backend.observe()
    bench.backend.initiate(NAME, OUT)
    bench.backend.initiate(NAME, IN)
    assert bench.kernel.sent == [acquire(OUT_POLICY, (PAIR.local, PAIR.remote))]
    bench.kernel.fault = True
    with pytest.raises(IkeError, match="refused"):
        bench.backend.initiate(NAME, OUT)


def test_what_only_the_stock_daemon_can_do_is_left_to_it(bench: Bench) -> None:
    """What is asked for in vain is refused; what happens by itself is not."""
    backend = bench.backend
    with pytest.raises(IkeError, match="only ovs-monitor-ipsec"):
        backend.install(NAME, OUT)
    backend.uninstall(NAME, OUT)
    backend.terminate_ike(1, force=True)
    backend.terminate_child(1)
    backend.rekey_child(1)
    assert (backend.flush(), bench.kernel.sent) == ({}, [])
    backend.set_ocsp((), "")
    strict = tuple(replace(proof, revocation=Revocation.STRICT) for proof in CONFIG.proofs)
    refusals: list[Callable[[], None]] = [
        lambda: backend.load_crl(b""),
        lambda: backend.set_ocsp((), "http://responder"),
        lambda: backend.load(replace(CONFIG, proofs=strict)),
    ]
    for refused in refusals:
        with pytest.raises(IkeError, match="of revoked certificates"):
            refused()


def test_a_key_is_named_and_not_kept(bench: Bench) -> None:
    """The IKE daemon reads it from its file."""
    backend = bench.backend
    backend.try_credential(OWN)
    for encoding in (Encoding.DER, Encoding.PEM):
        assert backend.load_key(secret(KEY, encoding)) == key_id(KEY)
    assert backend.keys() == Known(frozenset({key_id(KEY)}))
    backend.unload_key(key_id(KEY))
    backend.unload_shared("ovn-psk-x")
    assert (backend.keys(), backend.shared_keys()) == (Known(frozenset()), Known(frozenset()))
    assert isinstance(backend.certificates("chB"), Unknown)
    strange = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )
    for key, why in ((b"junk", "cannot be parsed"), (strange, "RSA and ECDSA")):
        with pytest.raises(IkeError, match=why) as caught:
            backend.load_key(Secret(key))
        assert "junk" not in str(caught.value)


# --- the plan ------------------------------------------------------------------------------------


def decided(record: PairRecord, what: ConnSeen, context: Context) -> Decision:
    intent = PairIntent(pair=PAIR, mode=Wanted.REQUIRE, csum=None)
    return decide(record, intent, CONFIG, what, context)


def test_a_pair_is_made_to_send_and_nothing_of_it_is_ended() -> None:
    """Also by the end that would wait for the other, and whatever its SAs were made from."""
    abilities = Delegate.abilities
    for me in ("chA", "chC"):
        begun = decided(NEW, ConnSeen(), at(Phase.ESTABLISH, 50, me, abilities=abilities))
        assert kinds(begun) == [Load, Initiate]
    (sa,) = seen((OUT_POLICY, IN_POLICY), BOTH)
    others = ConnSeen(
        config=CONFIG.fingerprint, marks=("made from", "another"), present=True, sas=(sa,)
    )
    decision = decided(NEW, others, at(Phase.ENFORCE, 50, abilities=abilities))
    assert decision.steps == ()
    assert kept(decision).replacement.lineage.outdated == frozenset()
    at_last = decided(kept(decision), others, at(Phase.ENFORCE, 90, abilities=abilities))
    assert (at_last.steps, kept(at_last).state) == ((), PairState.ENCRYPTED)


def test_a_method_that_the_daemon_is_not_given_is_not_there() -> None:
    """Whatever this chassis has for it."""
    own = LocalCredentials(ca=OWN, pinned=OWN, secrets=(Secret(b"x"),))
    for auths in ({Auth.CA}, {Auth.PINNED}, {Auth.PSK}, set(Auth), set()):
        assert own.only(frozenset(auths)).auths == auths


def test_a_quarantine_that_does_not_hold_is_told() -> None:
    """Only where the ports are not ours."""
    agent = agent_of(worlds.three_chassis())
    settle(agent)
    agent.abilities = Delegate.abilities
    assert delegate_problem(agent, owns=False) == ""
    agent.tally.states[PairState.QUARANTINED] = 2
    assert delegate_problem(agent, owns=False) == (
        "ovs-monitor-ipsec goes on encrypting 2 pairs in quarantine, because ovn-controller has"
        " the tunnel ports (docs/howto/delegate.md)"
    )
    assert delegate_problem(agent, owns=True) == ""
    agent.abilities = ABLE
    assert delegate_problem(agent, owns=False) == ""


class Tables:
    """Tables that hold what looks like ours, and nobody may touch."""

    policies = (OUT_POLICY, IN_POLICY)
    states = (replace(OUT_SA, reqid=FIRST_REQID), replace(IN_SA, reqid=FIRST_REQID))

    def drain(self) -> KernelEvents:
        """Nothing happened."""
        return KernelEvents()

    def dump(self) -> tuple[tuple[XfrmPolicy, ...], tuple[XfrmState, ...]]:
        """Give them."""
        return tuple(with_reqid(one, FIRST_REQID) for one in self.policies), self.states

    def esp(self, versions: Iterable[int]) -> Known[bool]:
        """It can."""
        assert set(versions) == {4}
        return Known(value=True)


class Quiet:
    """A guard that is as it should be."""

    def audit(self) -> None:
        """Find nothing."""


def test_what_the_kernel_holds_is_the_stock_daemons_whatever_its_reqids(tmp_path: Path) -> None:
    """Nothing of it is deleted, or missing; without delegation the same is ours."""
    state_dir = StateDir(tmp_path / "state")
    state_dir.open()
    for delegated in (True, False):
        agent = agent_of(worlds.two_chassis(), Phase.ESTABLISH)
        agent.put_reqids(NAME, state_dir.reqids(NAME))
        agent.put_sas(NAME, seen(Tables.policies, BOTH))
        if delegated:
            agent.abilities = Delegate.abilities
        watch = KernelWatch(Tables(), Quiet(), state_dir)  # type: ignore[arg-type]
        for now in (0.0, 100.0, 200.0):
            watch.look(agent, now, frozenset)
        assert watch.problem == ""
        outward = {key[0] for key in watch.foreign or ()}
        assert outward == ({PolicyDirection.OUT} if delegated else set())
        assert agent.seen[NAME].missing == frozenset()


# --- whether it runs -----------------------------------------------------------------------------


def test_the_stock_daemon_is_missed_where_it_is_wanted_and_a_conflict_where_not() -> None:
    """What is wrong is said once; so is that it is over."""
    pids: list[int | None] = [None]
    watch = ConflictWatch(lambda: pids[0], IkeChoice(lambda _vici: IkesHere()))
    now = 0.0

    def looked(pid: int | None, *, wanted: bool) -> list[str]:
        nonlocal now
        pids[0], now = pid, now + LOOK_S
        with capture_logs() as logs:
            watch.look(now, wanted=wanted)
        return [entry["event"] for entry in logs]

    assert looked(None, wanted=False) == []
    assert looked(None, wanted=True) == ["ovs_monitor_ipsec_missing"]
    assert (watch.lack, watch.problem) == (MISSING, "")
    assert looked(None, wanted=True) == []
    assert looked(7, wanted=True) == ["ovs_monitor_ipsec_found"]
    assert (watch.lack, watch.problem) == ("", "")
    assert looked(7, wanted=True) == []
    assert looked(7, wanted=False) == ["ovs_monitor_ipsec_lives"]
    assert "drives the same IKE daemon" in watch.problem
    assert looked(None, wanted=False) == ["ovs_monitor_ipsec_gone"]
    pids[0] = 9
    assert not watch.look(now)
    assert watch.look(now, wanted=True)
