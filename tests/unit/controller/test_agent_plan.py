# SPDX-License-Identifier: Apache-2.0
"""Everything that one chassis knows: world, agent, pace, audit, and what it says of itself."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from controller import report
from controller.plan.agent import Agent
from controller.plan.audit import Findings, Tracked, audit, is_protected
from controller.plan.cluster.world import PairIntent, World
from controller.plan.connection import CHILDREN, IN, OUT, ChildSa, ConnName, IkeSa, conn_name
from controller.plan.guard import Direction, GuardCounters, GuardState, PeerPort
from controller.plan.latch import Former
from controller.plan.pair.facts import NOTHING_SEEN, ConnSeen, Context
from controller.plan.pair.lifecycle import LINGER_S, OPEN_MAX_S
from controller.plan.pair.record import Decision, PairRecord
from controller.plan.pair.steps import RekeyChild
from controller.plan.pair.upkeep import REPAIR_S
from controller.plan.tally import counts_by_name
from controller.xfrm.values import (
    Action,
    PolicyDirection,
    Selector,
    Template,
    XfrmPolicy,
    XfrmState,
)
from controller.xfrm.values import Mode as XfrmMode
from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import EncapType
from ovn_ipsec.model.policy import Mode, Phase, Profile
from ovn_ipsec.model.status import Digest, PairCounts, PairState
from tests import worlds
from tests.contracts.ike_backend import NOW, config
from tests.fakes.configs import FakeConfigs, number
from tests.worlds import A, B, C, policy

CONFIG = config(addresses=("10.0.0.1", "10.0.0.2"))
NAME = CONFIG.name


def both_up(name: ConnName = NAME, first: int = 1) -> IkeSa:
    children = tuple(
        ChildSa(
            name=child,
            id=first + i,
            state="INSTALLED",
            reqid=i + 1,
            spi_in=first + i,
            spi_out=first + i + 100,
            suite="AES_GCM_16-256",
        )
        for i, child in enumerate(CHILDREN)
    )
    return IkeSa(
        conn=name, id=first, state="ESTABLISHED", initiator=True, initiator_spi=1, children=children
    )


UP = ConnSeen(config=CONFIG.fingerprint, present=True, sas=(both_up(),))


def agent_of(rows: worlds.Rows, phase: Phase = Phase.ENFORCE, me: str = A) -> Agent:
    agent = Agent(type(A)(me), FakeConfigs(lambda _intent: CONFIG))
    agent.put_policy(policy(phase))
    for name, parsed in rows.items():
        agent.put_chassis(name, parsed)
    return agent


def settle(agent: Agent, now: float = 100.0) -> dict[ConnName, Decision | None]:
    context = Context(phase=agent.policy.phase, now=now, this_chassis=agent.this_chassis)
    number(agent)
    return {name: agent.decide(name, context) for name in agent.due(now, 999)}


def test_a_repaired_pair_is_not_repaired_again_for_what_was_found_before() -> None:
    """The finding was of CHILD_SAs that were replaced since: to touch the pair replaces nothing."""
    agent = agent_of(worlds.two_chassis())
    settle(agent)
    broken = replace(UP, traps=frozenset(CHILDREN), missing=frozenset(CHILDREN))
    agent.put_seen(NAME, replace(broken, missing=frozenset()))
    agent.put_seen(NAME, broken)
    repaired = settle(agent, 200.0)[NAME]
    assert repaired is not None
    assert [1, 2] == sorted(s.child_id for s in repaired.steps if isinstance(s, RekeyChild))
    agent.put_sas(NAME, (both_up(first=11),))
    agent.touch(NAME)
    later = settle(agent, 200.0 + REPAIR_S)[NAME]
    assert later is not None
    assert [] == [s for s in later.steps if isinstance(s, RekeyChild)]


def test_a_half_repaired_pair_is_repaired_on_for_what_is_left() -> None:
    """Only the child that has a successor is let off, and a look at the kernel counts anew."""
    agent = agent_of(worlds.two_chassis())
    settle(agent)
    broken = replace(UP, traps=frozenset(CHILDREN), missing=frozenset(CHILDREN))
    agent.put_seen(NAME, replace(broken, missing=frozenset()))
    agent.put_seen(NAME, broken)
    (old,) = UP.sas
    out, into = old.children
    half = replace(old, children=(replace(out, id=21), into))
    agent.put_sas(NAME, (half,))
    assert {IN} == agent.seen[NAME].missing
    agent.put_seen(NAME, replace(agent.seen[NAME], missing=frozenset({OUT})))
    assert {OUT} == agent.seen[NAME].missing


def test_what_is_missing_soon_after_a_repair_is_repaired_without_any_other_event() -> None:
    """The second look finds what the first one did, which is no news, and is acted upon."""
    agent = agent_of(worlds.two_chassis())
    settle(agent)
    agent.put_seen(NAME, replace(UP, traps=frozenset(CHILDREN)))
    agent.put_seen(NAME, replace(agent.seen[NAME], missing=frozenset(CHILDREN)))
    settle(agent, 200.0)
    agent.put_sas(NAME, (both_up(first=11),))
    settle(agent, 201.0)
    for now in (202.0, 204.0):
        agent.put_seen(NAME, replace(agent.seen[NAME], missing=frozenset(CHILDREN)))
        for decision in settle(agent, now).values():
            assert decision is not None
            assert not [s for s in decision.steps if isinstance(s, RekeyChild)]
    repaired = settle(agent, 200.0 + REPAIR_S)[NAME]
    assert repaired is not None
    assert [11, 12] == sorted(s.child_id for s in repaired.steps if isinstance(s, RekeyChild))


@pytest.mark.parametrize("phase", Phase)
def test_another_name_and_another_life_keep_closed_what_was(phase: Phase) -> None:
    """Until the operator ends it: relax and off open everything."""
    old = agent_of(worlds.two_chassis())
    old.put_policy(policy(Phase.ENFORCE))
    settle(old)
    settle(old)
    (flow,) = old.latched()
    ended = phase in (Phase.OFF, Phase.RELAX)
    for how in ("name", "life"):
        agent = agent_of({A: worlds.two_chassis()[A]})
        agent.put_policy(policy(phase, generation=2))
        assert not agent.has_intents
        if how == "name":
            agent.succeed(old)
        else:
            agent.former = Former(latched=frozenset({flow}))
            agent.settle()
        agent.put_chassis(B, worlds.two_chassis()[B])
        assert agent.has_intents
        assert [NAME] == [name for name, _ in agent.undecided_intents()]
        settle(agent)
        assert not [*agent.undecided_intents()]
        assert agent.records[NAME].closed is not ended


def test_a_pair_that_is_still_to_be_closed_is_not_settled() -> None:
    """It was clear when it became required under enforce, and is not up."""
    agent = agent_of(worlds.two_chassis())
    agent.put_policy(policy(Phase.ENFORCE, Mode.OFF))
    settle(agent, 100.0)
    agent.put_policy(policy(Phase.ENFORCE, generation=2))
    settle(agent, 200.0)
    (record,) = agent.records.values()
    assert record.closes_at == 200.0 + OPEN_MAX_S
    assert agent.settling(201.0)
    settle(agent, record.closes_at)
    assert not agent.settling(record.closes_at)


def peers_of(rows: worlds.Rows, me: str = A) -> list[tuple[str, str]]:
    agent = agent_of(rows, me=me)
    settle(agent)
    return sorted((str(r.pair.peer), str(r.pair.remote)) for r in agent.records.values())


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (worlds.two_chassis(), [(B, "10.0.0.2")]),
        (worlds.three_chassis(), [(B, "10.0.0.2"), (C, "10.0.0.3")]),
        (worlds.mixed_zones(), [(B, "10.0.0.2")]),
        (worlds.is_remote(interconn=False), []),
        (worlds.is_remote(interconn=True), [(B, "10.0.0.2")]),
        (worlds.ipv6(), [(B, "fd00::2")]),
        (worlds.mixed_families(), [(B, "fd00::2")]),
        (worlds.dst_port(), [(B, "10.0.0.2")]),
        (worlds.two_encaps(), [(B, "10.0.0.2"), (B, "10.0.1.2")]),
        (worlds.mixed_types(), [(B, "10.0.0.2")]),
        (worlds.no_common_type(), []),
        (worlds.duplicate_ips(), []),
        (worlds.own_ip_claimed(), [(B, "10.0.0.2")]),
        (worlds.junk(), [(B, "10.0.0.2"), (C, "10.0.0.3")]),
    ],
)
def test_pairs_are_those_of_ovn_controller_in_any_order_of_rows(
    rows: worlds.Rows, expected: list[tuple[str, str]]
) -> None:
    """Zones, types, families, ports, several addresses, and addresses that two claim."""
    for order in itertools.permutations(rows):
        assert expected == peers_of({name: rows[name] for name in order})


def test_a_port_of_its_own_is_the_one_we_send_to() -> None:
    """And ours stays ours; the guard watches theirs towards them alone."""
    agent = agent_of(worlds.dst_port())
    settle(agent)
    (record,) = agent.records.values()
    assert (6082, 6081) == (record.pair.out_port, record.pair.in_port)
    guard = agent.guard(None)
    assert guard is not None
    assert {6081, 4789} == guard.ports
    pair = record.pair
    assert {PeerPort(local=pair.local, remote=pair.remote, port=6082)} == guard.peer_ports


def test_junk_is_refused_by_name() -> None:
    """Table, row, key, text and reason, in order of the chassis; the rest goes on."""
    agent = agent_of(worlds.junk())
    words = [error.diagnostics() for error in agent.all_refusals()]
    assert 3 == len(words)
    assert "10.0.0.999" in words[0]
    assert "maybe" in words[1]
    assert "d; rm" in words[2]
    agent.put_chassis(B, worlds.two_chassis()[B])
    assert B not in agent.refusals
    assert "and 1 more refusal" in report.refusal_summary(agent.all_refusals(), 1)
    assert words[1] in report.refusal_summary(agent.all_refusals())


def test_a_duplicate_address_is_refused_at_both_and_does_not_oscillate() -> None:
    """Who came first wins nothing, and the rightful one returns when the other goes."""
    agent = agent_of(worlds.two_chassis())
    settle(agent)
    agent.put_chassis(C, worlds.duplicate_ips()[C])
    settle(agent)
    assert {B, C} == set(agent.refusals)
    assert [PairState.LINGERING] == [r.state for r in agent.records.values()]
    agent.put_chassis(C, worlds.duplicate_ips()[C])
    assert agent.idle
    agent.put_chassis(C, None)
    settle(agent)
    assert [PairState.BLOCKED] == [r.state for r in agent.records.values()]
    assert {} == agent.refusals
    assert frozenset() == World().claimants((EncapType.GENEVE, ip_address("10.0.0.1")))


def test_the_stronger_end_and_the_floor_decide_the_mode() -> None:
    """An encap may raise its pairs; it cannot lower them."""
    rows = worlds.two_chassis()
    rows[B] = worlds.chassis(B, worlds.encap("10.0.0.2", ovn_ipsec="off"))
    agent = agent_of(rows)
    agent.put_policy(policy(Phase.ENFORCE, Mode.OFF))
    settle(agent)
    assert [Mode.OFF] == [r.mode for r in agent.records.values()]
    agent.put_policy(policy(Phase.ENFORCE, Mode.OFF, Mode.PREFER))
    settle(agent)
    assert [Mode.PREFER] == [r.mode for r in agent.records.values()]


def test_only_news_marks_a_pair() -> None:
    """The same policy, SAs, error or row again cost nothing."""
    agent = agent_of(worlds.two_chassis())
    settle(agent)
    assert not agent.put_policy(agent.policy)
    agent.put_seen(NAME, NOTHING_SEEN)
    agent.put_chassis(B, worlds.two_chassis()[B])
    assert agent.idle
    agent.put_sas(NAME, (both_up(),))
    assert not agent.idle
    assert agent.put_error(NAME, "no")
    assert not agent.put_error(NAME, "no")
    assert not agent.put_error(ConnName("ovn-x"), "no")
    assert agent.put_policy(replace(agent.policy, generation=2))
    agent.put_seen(NAME, NOTHING_SEEN)
    assert NAME not in agent.seen


def test_timers_bring_a_pair_back() -> None:
    """At most as many at once as asked for."""
    agent = Agent(A)
    assert agent.wake_at() is None
    agent = agent_of(worlds.three_chassis())
    assert 1 == len(agent.due(100, 1))
    assert not agent.idle
    settle(agent)
    agent.touch_all()
    settle(agent)
    wake_at = agent.wake_at()
    assert wake_at is not None
    assert agent.idle
    assert agent.due(wake_at + 1, 9)
    later = Context(phase=Phase.ENFORCE, now=wake_at + 1, this_chassis=A)
    assert any(agent.retries(name, later) for name in agent.records)
    assert not agent.retries(ConnName("ovn-x"), later)


def test_a_stray_lingers_and_goes() -> None:
    """What an earlier life left is removed after a while, at once in off."""
    agent = Agent(A)
    agent.put_policy(policy(Phase.ENFORCE))
    agent.put_seen(NAME, UP)
    assert {NAME: None} == settle(agent, 100), "its reqids are kept as long as its SAs"
    decision = settle(agent, 100 + LINGER_S)[NAME]
    assert decision is not None
    assert 2 == len(decision.steps)
    agent.put_seen(NAME, NOTHING_SEEN)
    assert {NAME: None} == settle(agent, 161)
    agent.put_policy(policy(Phase.OFF))
    agent.put_seen(NAME, UP)
    decision = settle(agent, 200)[NAME]
    assert decision is not None
    assert decision.steps


def test_a_gone_peer_is_forgotten_after_its_time() -> None:
    """Records, counts and ports go with it."""
    agent = agent_of(worlds.two_chassis())
    settle(agent)
    agent.put_chassis(B, None)
    settle(agent)
    assert PairCounts(lingering=1) == agent.pair_counts()
    settle(agent, 100 + LINGER_S)
    assert not agent.records
    assert PairCounts() == agent.pair_counts()


def test_pairs_with_another_zone_are_counted_apart() -> None:
    """Until the peer is forgotten; one that turns out to be of this zone is counted as such."""
    rows = {
        **worlds.is_remote(interconn=True),
        C: worlds.chassis(C, "10.0.0.3"),
    }
    agent = agent_of(rows)
    settle(agent)
    assert PairCounts(blocked=2) == agent.pair_counts()
    assert PairCounts(blocked=1) == agent.pair_counts(across=True)
    agent.put_chassis(C, worlds.chassis(C, "10.0.0.3", is_remote="true"))
    settle(agent)
    assert PairCounts(blocked=2) == agent.pair_counts(across=True)
    agent.put_chassis(C, worlds.chassis(C, "10.0.0.3"))
    agent.put_chassis(B, None)
    settle(agent)
    assert PairCounts(blocked=1, lingering=1) == agent.pair_counts()
    assert PairCounts(lingering=1) == agent.pair_counts(across=True)
    settle(agent, 100 + LINGER_S)
    assert PairCounts(blocked=1) == agent.pair_counts()
    assert PairCounts() == agent.pair_counts(across=True)


def test_a_peer_gives_its_address_back_with_the_last_of_its_pairs() -> None:
    """That it has proven by authenticating from there; another chassis may have it then."""
    agent = Agent(A)
    agent.put_policy(policy(Phase.ESTABLISH))
    agent.put_chassis(A, worlds.chassis(A, "10.0.0.1", "10.0.0.3"))
    agent.put_chassis(B, worlds.chassis(B, "10.0.0.2"))
    settle(agent)
    assert PairCounts(pending=2) == agent.pair_counts()
    first, second = agent.records
    agent.put_sas(first, (both_up(),))
    address = (EncapType.GENEVE, ip_address("10.0.0.2"))
    assert agent.world.holder(address) == B
    agent.put_chassis(B, None)
    settle(agent)
    assert PairCounts(lingering=2) == agent.pair_counts()
    late = Context(phase=Phase.ESTABLISH, now=100 + LINGER_S, this_chassis=A)
    agent.decide(first, late)
    assert agent.world.holder(address) == B
    agent.decide(second, late)
    assert agent.world.holder(address) is None
    agent.put_chassis(C, worlds.chassis(C, "10.0.0.2"))
    settle(agent, 101 + LINGER_S)
    assert [C, C] == [record.pair.peer for record in agent.records.values()]


def test_a_peer_that_was_away_for_long_returns_latched() -> None:
    """Only relax and off forget what was denied."""
    agent = agent_of(worlds.two_chassis())
    settle(agent)
    agent.put_chassis(B, None)
    agent.put_policy(policy(Phase.ESTABLISH))
    settle(agent)
    settle(agent, 100 + LINGER_S)
    assert not agent.records
    agent.put_chassis(B, worlds.two_chassis()[B])
    settle(agent, 500)
    assert [PairState.BLOCKED] == [r.state for r in agent.records.values()]
    agent.put_policy(policy(Phase.RELAX))
    settle(agent, 501)
    agent.put_policy(policy(Phase.ESTABLISH, generation=3))
    settle(agent, 502)
    assert [PairState.PENDING] == [r.state for r in agent.records.values()]
    agent.touch_at(NAME, 500.0)
    assert [NAME] == agent.due(501, 9)


def test_a_peer_that_returns_under_another_name_returns_latched() -> None:
    """Who has its address has nothing to send in clear there, until a class says so."""
    agent = agent_of(worlds.two_chassis())
    settle(agent)
    agent.put_sas(NAME, (both_up(),))
    settle(agent)
    agent.put_chassis(B, None)
    agent.put_policy(policy(Phase.ESTABLISH))
    settle(agent)
    agent.put_sas(NAME, ())
    settle(agent, 100 + LINGER_S)
    agent.put_chassis(C, worlds.chassis(C, "10.0.0.2"))
    settle(agent, 500)
    assert [(C, PairState.BLOCKED)] == [(r.pair.peer, r.state) for r in agent.records.values()]
    agent.put_policy(policy(Phase.ESTABLISH, Mode.OFF, generation=3))
    settle(agent, 501)
    agent.put_policy(policy(Phase.ESTABLISH, generation=4))
    agent.put_chassis(C, None)
    settle(agent, 502)
    settle(agent, 502 + LINGER_S)
    agent.put_chassis("chD", worlds.chassis("chD", "10.0.0.2"))
    settle(agent, 600)
    assert [PairState.PENDING] == [r.state for r in agent.records.values()]


@pytest.mark.parametrize(
    ("phase", "clear"),
    [
        (Phase.OFF, None),
        (Phase.PREPARE, 2),
        (Phase.ESTABLISH, 2),
        (Phase.ENFORCE, 0),
        (Phase.RELAX, 2),
    ],
)
def test_the_guard_of_each_phase(phase: Phase, clear: int | None) -> None:
    """None, or all known pairs may be clear, or none of the required."""
    agent = agent_of(worlds.two_chassis(), phase)
    settle(agent)
    guard = agent.guard(None)
    assert clear == (len(guard.may_clear) if guard is not None else None)


def test_counters_are_taken_in_and_mark_no_pair() -> None:
    """They change all the time."""
    agent = agent_of(worlds.two_chassis())
    agent.put_seen(NAME, UP)
    settle(agent)
    (one,) = UP.sas
    counted = tuple(replace(child, packets_in=7) for child in one.children)
    agent.put_sas(NAME, (replace(one, children=counted),))
    assert agent.idle
    assert [7, 7] == [child.packets_in for child in agent.seen[NAME].children()]


def test_what_was_denied_stays_denied_through_prepare() -> None:
    """A second rollout opens nothing; relax opens in turn and off last."""
    agent = agent_of(worlds.two_chassis())
    agent.put_seen(NAME, UP)
    settle(agent)
    agent.put_policy(policy(Phase.PREPARE))
    settle(agent, 110)
    guard = agent.guard(None)
    assert guard is not None
    assert not guard.may_clear
    agent.put_policy(policy(Phase.RELAX))
    settle(agent, 120)
    assert agent.settling(120)
    agent.put_policy(policy(Phase.OFF))
    settle(agent, 130)
    assert not agent.settling(130)
    assert agent.guard(None) is not None
    agent.put_seen(NAME, NOTHING_SEEN)
    assert agent.guard(None) is None


def test_the_loss_of_our_own_rows_opens_nothing() -> None:
    """The guard keeps the addresses and ports that it had."""
    agent = agent_of(worlds.two_chassis())
    settle(agent)
    before = agent.guard(None)
    agent.put_chassis(A, None)
    settle(agent)
    assert before == agent.guard(before)
    assert [PairState.LINGERING] == [r.state for r in agent.records.values()]
    assert before == agent.guard(None)


def test_a_lingering_pair_under_enforce_is_denied_even_if_it_was_open() -> None:
    """An unknown peer's clear text neither leaves nor enters."""
    agent = agent_of(worlds.two_chassis(), Phase.ESTABLISH)
    settle(agent)
    agent.put_chassis(B, None)
    agent.put_policy(policy(Phase.ENFORCE))
    settle(agent)
    guard = agent.guard(None)
    assert guard is not None
    assert not guard.may_clear


def test_a_guard_that_was_found_remembers() -> None:
    """It closes what it does not let out; none remembers nothing, and off wants nothing."""
    agent = agent_of(worlds.two_chassis(), Phase.ESTABLISH)
    settle(agent)
    (record,) = agent.records.values()
    guard = agent.guard(None)
    assert guard is not None
    denying = replace(guard, may_clear=frozenset())
    (out,) = (flow for flow in guard.may_clear if flow.direction is Direction.OUT)
    assert not Former().closed(record)
    assert not Former(guard=guard).closed(record)
    assert Former(guard=denying).closed(record)
    assert Former(latched=frozenset({out})).closed(record)
    assert Former(foreign=None).closed(record), "what is not known is not open"
    assert not Former(guard=denying, foreign=None).closed(replace(record, mode=Mode.OFF))
    again = Agent(A)
    again.former = Former(guard=denying)
    again.put_policy(policy(Phase.ESTABLISH))
    for name, parsed in worlds.two_chassis().items():
        again.put_chassis(name, parsed)
    settle(again)
    assert [PairState.BLOCKED] == [r.state for r in again.records.values()]


US, THEM = ip_address("10.0.0.1"), ip_address("10.0.0.2")


def esp_policy(direction: PolicyDirection, dport: int = 6081, **how: object) -> XfrmPolicy:
    src, dst = (US, THEM) if direction is PolicyDirection.OUT else (THEM, US)
    selector = Selector(
        src=ip_network(src), dst=ip_network(dst), proto=17, dport=dport, dport_mask=0xFFFF
    )
    template = Template(src=src, dst=dst, proto=50, spi=0, reqid=1, mode=XfrmMode.TRANSPORT)
    return XfrmPolicy(
        direction=direction,
        selector=replace(selector, **how),  # type: ignore[arg-type]
        priority=1,
        action=Action.ALLOW,
        templates=(template,),
    )


def state(spi: int, reqid: int, *, inbound: bool, proto: int = 50) -> XfrmState:
    src, dst = (THEM, US) if inbound else (US, THEM)
    return XfrmState(src=src, dst=dst, spi=spi, proto=proto, reqid=reqid, mode=XfrmMode.TRANSPORT)


POLICIES = (esp_policy(PolicyDirection.OUT), esp_policy(PolicyDirection.IN))
STATES = tuple(
    state(child.spi_in if inbound else child.spi_out, child.reqid, inbound=inbound)
    for child in both_up().children
    for inbound in (True, False)
)


def look(
    seen: ConnSeen, policies: tuple[XfrmPolicy, ...], states: tuple[XfrmState, ...]
) -> Findings:
    tracked = {NAME: Tracked(pair=CONFIG.pair, reqids=(1, 2), seen=seen)}
    return audit(tracked, policies, states, frozenset({1, 2}))


def test_what_a_killed_daemon_left_of_a_pair_that_is_off_can_go() -> None:
    """It would take no clear text in for ever; of a pair that shall be it carries on."""
    other = esp_policy(PolicyDirection.OUT, 6082)
    renamed = replace(POLICIES[0], templates=(replace(POLICIES[0].templates[0], reqid=3),))
    foreign = replace(POLICIES[1], templates=(replace(POLICIES[1].templates[0], reqid=77),))
    one = Tracked(pair=CONFIG.pair, reqids=(1, 2), seen=NOTHING_SEEN, off=True)
    policies = (*POLICIES, renamed, foreign)
    found = audit({NAME: one}, policies, STATES, frozenset({1, 2, 3}))
    assert found.leftovers == (*POLICIES, renamed)
    assert found.orphans == STATES
    moved = audit({NAME: one}, (other,), (), frozenset({1, 2}))
    assert moved.leftovers == (other,), "its port was another one then"
    for spared in (
        replace(one, off=False),
        replace(one, seen=replace(NOTHING_SEEN, present=True)),
        replace(one, seen=replace(NOTHING_SEEN, traps=frozenset({"in"}))),
        replace(one, seen=UP),
    ):
        assert not audit({NAME: spared}, policies, STATES, frozenset({1, 2, 3})).leftovers


def test_what_a_live_pair_has_on_the_same_flow_is_left_to_it() -> None:
    """The same addresses and port, under two tunnel types of which one is off."""
    off = Tracked(pair=CONFIG.pair, reqids=(5, 6), seen=NOTHING_SEEN, off=True)
    live = Tracked(pair=CONFIG.pair, reqids=(1, 2), seen=UP)
    tracked = {NAME: live, ConnName("ovn-rogue"): off}
    assert not audit(tracked, POLICIES, STATES, frozenset({1, 2, 5, 6})).leftovers
    stale = replace(POLICIES[0], templates=(replace(POLICIES[0].templates[0], reqid=3),))
    found = audit(tracked, (*POLICIES, stale), STATES, frozenset({1, 2, 3, 5, 6}))
    assert found.leftovers == (stale,)


def test_reqids_of_a_pair_that_was_gone_before_it_was_decided_are_given_back() -> None:
    """Nobody has seen anything of it, and there will be nothing to see."""
    agent = agent_of(worlds.two_chassis())
    number(agent)
    agent.put_chassis(B, None)
    assert {NAME: Decision(record=None)} == settle(agent)


def test_an_audit_of_what_is_whole_finds_nothing() -> None:
    """Entries of others do not count."""
    other = state(999, 77, inbound=True)
    assert Findings() == look(UP, POLICIES, (*STATES, other, state(9, 1, inbound=True, proto=51)))
    assert Findings() == look(NOTHING_SEEN, (), ())


@pytest.mark.parametrize(
    "wrong",
    [
        esp_policy(PolicyDirection.OUT, proto=6),
        esp_policy(PolicyDirection.OUT, dport_mask=0),
        esp_policy(PolicyDirection.OUT, 6082),
        esp_policy(PolicyDirection.OUT, src=ip_network("10.0.0.0/24")),
        esp_policy(PolicyDirection.FORWARD),
        replace(POLICIES[0], templates=()),
    ],
)
def test_a_child_without_its_policy_is_missing(wrong: XfrmPolicy) -> None:
    """Another policy does not stand for it."""
    assert {NAME: {"out"}} == look(UP, (wrong, POLICIES[1]), STATES).missing


def test_a_child_without_an_sa_is_missing() -> None:
    """In either direction."""
    assert {NAME: {"out"}} == look(UP, POLICIES, STATES[1:]).missing
    assert {NAME: {"in"}} == look(UP, POLICIES, STATES[:-1]).missing


def test_sas_that_the_daemon_does_not_know_protect_a_pair() -> None:
    """Both ways, or not at all; also while new ones are negotiated."""
    assert {NAME} == look(NOTHING_SEEN, POLICIES, STATES).orphaned
    assert frozenset() == look(NOTHING_SEEN, POLICIES[:1], STATES).orphaned
    assert frozenset() == look(NOTHING_SEEN, POLICIES, STATES[:2]).orphaned
    assert frozenset() == look(NOTHING_SEEN, POLICIES, STATES[2:]).orphaned
    half = replace(NOTHING_SEEN, sas=(replace(both_up(), children=both_up().children[:1]),))
    assert {NAME} == look(half, POLICIES, STATES).orphaned


def test_policies_of_others_protect_a_pair() -> None:
    """What goes out counts: only that can leave in clear text."""
    theirs = tuple(
        replace(policy, templates=(replace(policy.templates[0], reqid=7),)) for policy in POLICIES
    )
    found = look(NOTHING_SEEN, theirs, ())
    assert is_protected(found.foreign, CONFIG.pair)
    assert len(found.foreign) == 1
    assert not is_protected(found.foreign, replace(CONFIG.pair, out_port=6082))
    assert not is_protected(look(NOTHING_SEEN, theirs[1:], ()).foreign, CONFIG.pair)
    assert not is_protected(look(NOTHING_SEEN, POLICIES, ()).foreign, CONFIG.pair)


def test_orphans_of_a_pair_that_is_up_again_can_go() -> None:
    """Only those that no child, not even one on its way, accounts for."""
    orphan, coming = state(555, 1, inbound=True), state(501, 2, inbound=True)
    late = replace(both_up().children[1], state="INSTALLING", id=9, spi_in=501, spi_out=601)
    seen = replace(UP, sas=(*UP.sas, replace(both_up(first=50), children=(late,))))
    assert (orphan,) == look(seen, POLICIES, (*STATES, orphan, coming)).orphans


def described() -> Agent:
    agent = agent_of(worlds.three_chassis())
    agent.put_seen(NAME, UP)
    settle(agent)
    agent.put_error(conn_name(config(peer="chC", addresses=("10.0.0.1", "10.0.0.3")).pair), "no")
    return agent


def test_the_digest_sums_up() -> None:
    """Generation and phase are those applied; empty problems are no problems."""
    agent = described()
    found = report.digest(
        agent, agent.policy, daemon="strongSwan 6", problems=["one", "", "two"], expires=NOW
    )
    assert (1, Phase.ENFORCE, "one; two") == (found.generation, found.phase, found.problem)
    assert PairCounts(encrypted=1, blocked=1) == found.counts
    assert found.agent.endswith("strongSwan 6")
    assert {"blocked": 1, "encrypted": 1} == counts_by_name(agent.tally.states)


def test_what_the_gate_waits_for_is_reported_at_once() -> None:
    """Every pair of this zone is up; those with other zones need not be."""
    counts = PairCounts(encrypted=1, pending=1)
    said = Digest(generation=4, phase=Phase.ESTABLISH, agent="a", counts=counts)
    assert report.awaited(said) is None
    assert 4 == report.awaited(replace(said, across=PairCounts(pending=1)))


def test_profiles_are_counted_and_those_that_cannot_be_are_named() -> None:
    """By the pairs that are to have them; unknown is the default, and no problem."""
    agent = described()
    assert frozenset({Profile.DEFAULT}) == digest_of(agent).profiles
    assert "" == report.profile_problem(agent)
    agent.able = frozenset({Profile.DEFAULT, Profile.CNSA})
    agent.put(replace(agent.policy, generation=2, profile=Profile.PQ))
    settle(agent)
    assert agent.able == digest_of(agent).profiles
    assert "the IKE daemon cannot do profile pq (2 pairs)" == report.profile_problem(agent)
    assert ["pq", "pq"] == [row["profile"] for row in report.peers(agent, 0, {})]
    agent.put_chassis(B, None)
    agent.put(replace(agent.policy, generation=3, profile=Profile.CNSA))
    settle(agent)
    assert "the IKE daemon cannot do profile pq (1 pair)" == report.profile_problem(agent)
    settle(agent, 500)
    assert "" == report.profile_problem(agent)


def digest_of(agent: Agent) -> Digest:
    return report.digest(agent, agent.policy, daemon="", problems=[], expires=None)


def test_peers_are_shown_with_their_classes() -> None:
    """Ours and theirs; none while the rows are gone."""
    agent = agent_of(worlds.two_classes("lab", ""))
    settle(agent)
    assert [["lab", ""]] == [row["classes"] for row in report.peers(agent, 0, {})]
    agent.put_chassis(B, None)
    assert [[]] == [row["classes"] for row in report.peers(agent, 0, {})]


def test_the_guard_knows_protected_networks_once_pairs_are_established() -> None:
    """Not in prepare, and not in relax."""
    agent = agent_of(worlds.two_chassis())
    settle(agent)
    for phase in Phase:
        agent.put(replace(agent.policy, phase=phase, vnis=frozenset({7})))
        guard = agent.guard(None)
        assert guard is None or (
            guard.vnis == ({7} if phase in (Phase.ESTABLISH, Phase.ENFORCE) else frozenset())
        )


def test_peers_are_shown_as_as_objects_and_as_a_table() -> None:
    """Sorted, with totals, and no key material."""
    rows = report.peers(described(), 107.25, {})
    assert [B, C] == [row["peer"] for row in rows]
    assert ("encrypted", 1, 2, 7.2, True) == tuple(
        rows[0][key] for key in ("state", "ike", "esp", "since_s", "initiator")
    )
    assert ("blocked", "no", "") == tuple(rows[1][key] for key in ("state", "last_error", "suite"))
    lines = report.peers_text(rows).splitlines()
    assert lines[0].startswith("PEER")
    assert "2 pairs: 1 blocked, 1 encrypted" == lines[-1]
    assert ("INNER_MTU", "-") == (lines[0].split()[10], lines[1].split()[10])
    assert "0 pairs: none" == report.peers_text([]).splitlines()[-1]
    assert rows == json.loads(report.as_json(rows))


def test_the_guard_is_shown_as_an_object() -> None:
    """Also when it is not in force, or a layer cannot count."""
    guard = GuardState(ports=frozenset({6081}), local=frozenset({US}), may_clear=frozenset())
    zero = GuardCounters(out_denied=0, out_clear=0, in_denied=1, in_clear=None)
    shown = report.guard_object(guard, {"nft": zero, "xfrm": None}, {"xfrm": "away"})
    assert (True, [6081], ["10.0.0.1"]) == (shown["in_force"], shown["ports"], shown["local"])
    assert (1, None) == tuple(shown["counters"]["nft"][key] for key in ("in_denied", "in_clear"))
    assert shown["counters"]["xfrm"] is None
    off = report.guard_object(None, {}, {})
    assert (False, [], [], 0) == tuple(
        off[key] for key in ("in_force", "ports", "local", "may_be_clear")
    )


def test_refusals_are_counted() -> None:
    """Nothing refused is nothing said."""
    error = InputError(table="Encap", row="r", key="ip", text="x", reason="no")
    assert "" == report.refusal_summary([])
    assert error.diagnostics() == report.refusal_summary([error])


def test_an_agent_takes_a_configuration_only_for_what_is_wanted() -> None:
    """A gone peer asks for none."""
    asked: list[PairIntent] = []
    agent = agent_of(worlds.two_chassis())
    agent.configs = FakeConfigs(asked.append)
    settle(agent)
    assert len(asked) == 1
    agent.put_chassis(B, None)
    settle(agent)
    assert len(asked) == 1
    assert all(isinstance(record, PairRecord) for record in agent.records.values())
