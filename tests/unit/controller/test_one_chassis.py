# SPDX-License-Identifier: Apache-2.0
"""One chassis is worth one chassis: what its rows can cause is bounded, and opens nothing."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.plan.agent import Agent
from controller.plan.cluster.intake import BURST, Intake
from controller.plan.cluster.world import NAMED_MAX, World
from controller.plan.connection import ConnName, conn_name
from controller.plan.guard import ClearFlow
from controller.plan.pair.clear import ClearFlows, flows_of
from controller.plan.pair.facts import NOTHING_SEEN, Context
from controller.plan.pair.record import PairRecord
from controller.southbound import LISTEN_S, Southbound
from ovn_ipsec.model.chassis import ChassisName, EncapType, Pair
from ovn_ipsec.model.policy import ClusterPolicy, Mode, Phase
from ovn_ipsec.model.status import PairState
from ovn_ipsec.ovsdb.schemas import SOUTHBOUND
from ovn_ipsec.schema.encap import (
    ENCAPS_MAX,
    ERRORS_MAX,
    PORTS_MAX,
    ParsedChassis,
    RawChassis,
    RawEncap,
    parse_chassis,
)
from tests.contracts.ike_backend import config
from tests.fakes.configs import FakeConfigs, number
from tests.fakes.ovsdb import FakeDatabase, FakeSession
from tests.fakes.timeline import Timeline
from tests.simulation.engine import FakePoller
from tests.unit.controller.test_agent_plan import both_up
from tests.worlds import A, B, C, chassis, encap, labelled, matrix, policy, two_chassis

CONFIG = config(addresses=("10.0.0.1", "10.0.0.2"))
NAME = CONFIG.name
ROGUE = ChassisName("rogue")


# --- rows ----------------------------------------------------------------------------------------


def row(*encaps: RawEncap) -> ParsedChassis:
    return parse_chassis(RawChassis(name="rogue", other_config={}, encaps=encaps))


@pytest.mark.parametrize("port", ["0", "1", "22", "53", "500", "1023", "4500", "65536", "-1", "x"])
def test_no_row_makes_a_tunnel_port_of_ikes_or_of_a_service(port: str) -> None:
    """A guard on it would stop IKE, or whatever the host does there."""
    parsed = row(encap("10.0.0.9", dst_port=port))
    assert parsed.chassis is not None
    assert parsed.chassis.encaps == ()
    (error,) = parsed.errors
    assert "dst_port" in error.key


@pytest.mark.parametrize("port", [1024, 4499, 4501, 65535])
def test_other_ports_are_taken(port: int) -> None:
    """As ovn-controller takes them."""
    parsed = row(encap("10.0.0.9", dst_port=str(port)))
    assert parsed.chassis is not None
    assert [port] == [one.encap.port for one in parsed.chassis.encaps]


def test_encaps_beyond_the_limit_are_one_refusal() -> None:
    """However many they are, and in whatever order they come."""
    many = [encap(f"10.1.{n // 200}.{n % 200 + 1}") for n in range(4000)]
    parsed, again = row(*many), row(*reversed(many))
    assert parsed.chassis is not None
    assert len(parsed.chassis.encaps) == ENCAPS_MAX
    assert len(parsed.errors) == 1
    assert parsed.chassis == again.chassis


def test_ports_beyond_the_limit_are_one_refusal() -> None:
    """Encaps with the first ones stay."""
    parsed = row(*[encap(f"10.0.0.{n}", dst_port=str(7000 + n)) for n in range(1, 12)])
    assert parsed.chassis is not None
    assert len({one.encap.port for one in parsed.chassis.encaps}) == PORTS_MAX
    assert len(parsed.errors) == 1


def test_refusals_of_one_chassis_are_few() -> None:
    """The others are counted."""
    parsed = row(*[encap(f"junk-{n}") for n in range(1000)])
    assert len(parsed.errors) == ERRORS_MAX
    assert "more" in parsed.errors[-1].text


# --- how often -----------------------------------------------------------------------------------


def test_a_chassis_that_changes_all_the_time_is_taken_in_once_a_second() -> None:
    """After a burst; others and this chassis itself do not wait for it."""
    intake, taken = Intake(A), dict.fromkeys((A, B, ROGUE), 0)
    now = 100.0
    for tick in range(1000):
        intake.note([ROGUE, A, *([B] if tick % 200 == 0 else [])])
        for name in intake.take(now):
            taken[name] += 1
        now += 0.01
    assert taken[A] == 1000
    assert taken[B] == 5
    assert BURST <= taken[ROGUE] <= BURST + 11
    wake_at = intake.wake_at()
    assert wake_at is not None
    assert intake.take(wake_at + 0.001) == [ROGUE]
    assert intake.wake_at() is None


def test_thousand_chassis_at_once_are_taken_in_at_once() -> None:
    """As when a southbound is read for the first time; and nothing is remembered of them later."""
    intake = Intake(A)
    names = [f"hv{n}" for n in range(1000)]
    intake.note(names)
    assert intake.take(5.0) == names
    assert intake.take(50.0) == []
    assert intake._levels == {}


def test_a_chassis_that_writes_all_the_time_wakes_only_now_and_then() -> None:
    """The southbound is read every LISTEN_S then, and what others write is seen that late."""
    timeline = Timeline()
    database = FakeDatabase(timeline, SOUTHBOUND)
    rows = {name: database.insert("Chassis", name=name) for name in (B, ROGUE)}
    session = FakeSession(
        "tcp:central", SOUTHBOUND, find=lambda _remotes: database, timeline=timeline, fd=7
    )
    session.open()
    southbound = Southbound(session, A)  # type: ignore[arg-type]
    looks, seen = 0, [-1]
    for turn in range(1000):
        database.update("Chassis", rows[ROGUE], hostname=f"h{turn}")
        if turn == 500:
            database.update("Chassis", rows[B], hostname="other")
        timeline.run(0.01)
        poller = FakePoller()
        southbound.wait(poller, timeline.now)  # type: ignore[arg-type]
        if poller.after_s > 0.0 and not poller.fds:
            assert poller.after_s < LISTEN_S + 0.002
            continue
        looks += 1
        southbound.receive(timeline.now)
        taken = southbound.changed_chassis(timeline.now)
        seen += [turn for one in taken if one.name == B]
    assert 500 <= seen[-1] <= 500 + 100 * LISTEN_S + 1
    assert BURST < looks < BURST + 10 / LISTEN_S + 10
    timeline.run(LISTEN_S)
    southbound.receive(timeline.now)
    timeline.run(2.0)
    southbound.changed_chassis(timeline.now)
    poller = FakePoller()
    southbound.wait(poller, timeline.now)  # type: ignore[arg-type]
    assert poller.fds == {7}


# --- addresses -----------------------------------------------------------------------------------


def agent_of(*rows: tuple[str, ParsedChassis], phase: Phase = Phase.ENFORCE) -> Agent:
    agent = Agent(A, FakeConfigs(lambda _intent: CONFIG))
    agent.put(policy(phase), rows)
    return agent


def settle(agent: Agent, now: float = 100.0) -> None:
    number(agent)
    for name in agent.due(now, 999):
        agent.decide(
            name, Context(phase=agent.policy.phase, now=now, this_chassis=agent.this_chassis)
        )


def states(agent: Agent) -> dict[str, PairState]:
    return {str(record.pair.peer): record.state for record in agent.records.values()}


def test_a_claim_under_another_type_takes_nothing_away() -> None:
    """An address is claimed for one type, as OVN's own index has it."""
    agent = agent_of(*two_chassis().items())
    settle(agent)
    agent.put(None, [(ROGUE, chassis(ROGUE, encap("10.0.0.2", "vxlan")))])
    settle(agent)
    assert {B: PairState.BLOCKED} == states(agent)
    assert {} == agent.refusals


def test_a_claim_of_our_own_address_takes_nothing_away() -> None:
    """It is ours; the rogue is refused."""
    agent = agent_of(*two_chassis().items(), (ROGUE, chassis(ROGUE, "10.0.0.1")))
    settle(agent)
    assert {B} == states(agent).keys()
    assert {ROGUE} == agent.refusals.keys()


def test_who_is_proved_to_be_there_keeps_the_address() -> None:
    """Also while its rows are away, until its pair is forgotten."""
    agent = agent_of(*two_chassis().items())
    settle(agent)
    agent.put_sas(NAME, (both_up(),))
    settle(agent)
    rogue = (ROGUE, chassis(ROGUE, "10.0.0.2"))
    agent.put(None, [rogue])
    settle(agent)
    assert {B: PairState.ENCRYPTED} == states(agent)
    assert {ROGUE} == agent.refusals.keys()
    agent.put(None, [(B, None)])
    settle(agent, 101)
    assert {B: PairState.LINGERING} == states(agent)
    agent.put(None, [(B, two_chassis()[B])])
    settle(agent, 102)
    assert {B: PairState.ENCRYPTED} == states(agent)
    agent.put(None, [(B, None)])
    settle(agent, 103)
    settle(agent, 500)
    settle(agent, 501)
    assert {ROGUE} == states(agent).keys(), "it has nobody to share it with any more"


def test_proof_is_found_again_after_a_restart() -> None:
    """The IKE daemon has the SA, and says whose it is."""
    rows = [*two_chassis().items(), (ROGUE, chassis(ROGUE, "10.0.0.2"))]
    agent = agent_of(*rows)
    settle(agent)
    assert {} == states(agent)
    agent.put_sas(NAME, (both_up(),))
    settle(agent)
    assert {B: PairState.ENCRYPTED} == states(agent)
    early = Agent(A, FakeConfigs(lambda _intent: CONFIG))
    early.put_sas(NAME, (both_up(),))
    early.put(policy(Phase.ENFORCE), rows)
    settle(early)
    assert {B: PairState.ENCRYPTED} == states(early)


def test_many_rivals_are_counted() -> None:
    """And not all named."""
    world = World()
    world.put(A, chassis(A, "10.0.0.1"))
    for n in range(20):
        world.put(f"rogue{n}", chassis(f"rogue{n}", "10.0.0.2"))
    (error,) = world.pairs_with(A, "rogue0", policy(Phase.ENFORCE)).errors
    assert f"and {19 - NAMED_MAX} more" in error.reason
    assert world.hold((EncapType.GENEVE, ip_address("10.0.0.2")), "rogue0")
    assert not world.hold((EncapType.GENEVE, ip_address("10.0.0.2")), "rogue0")
    assert not world.hold((EncapType.GENEVE, ip_address("10.0.0.77")), "rogue0")


def test_many_contested_addresses_of_one_chassis_are_four_refusals() -> None:
    """However many it claims."""
    world = World()
    world.put(A, chassis(A, "10.0.0.1"))
    ips = [f"10.0.1.{n}" for n in range(ERRORS_MAX + 3)]
    for name in (B, ROGUE):
        world.put(name, chassis(name, *ips))
    offers = world.pairs_with(A, ROGUE, policy(Phase.ENFORCE))
    assert (len(offers.contested), len(offers.errors)) == (len(ips), ERRORS_MAX)


def test_a_pair_of_another_type_does_not_take_a_port() -> None:
    """Whoever puts vxlan on Geneve's port does not speak for the Geneve there."""
    both = chassis(A, encap("10.0.0.1"), encap("10.0.0.1", "vxlan"))
    rogue = chassis(ROGUE, encap("10.0.0.2", "vxlan", dst_port="6081", ovn_ipsec="off"))
    agent = agent_of((A, both), (B, two_chassis()[B]), (ROGUE, rogue))
    settle(agent)
    assert {B} == states(agent).keys()
    assert {ROGUE} == agent.refusals.keys()


# --- what is open --------------------------------------------------------------------------------

REMOTES = [ip_address(f"10.0.0.{n}") for n in (2, 3)]
pairs = st.builds(
    Pair,
    peer=st.sampled_from([B, C, ROGUE]),
    type=st.sampled_from(EncapType),
    local=st.just(ip_address("10.0.0.1")),
    remote=st.sampled_from(REMOTES),
    out_port=st.sampled_from([6081, 4789]),
    in_port=st.sampled_from([6081, 4789]),
)


changed = st.tuples(st.integers(0, 3), pairs | st.none(), st.sets(st.booleans()))


@given(st.lists(changed, max_size=12))
def test_a_flow_may_be_clear_only_if_every_pair_that_has_it_says_so(
    changes: list[tuple[int, Pair | None, set[bool]]],
) -> None:
    """Whatever came before, and it is the sum of what all say now."""
    flows, said = ClearFlows(), dict[ConnName, tuple[set[ClearFlow], set[ClearFlow]]]()
    for number_, pair, chosen in changes:
        name = ConnName(f"ovn-{number_}")
        if pair is None:
            flows.put(name, None, frozenset())
            said.pop(name, None)
            continue
        record = PairRecord(name=name, pair=pair)
        both = flows_of(record)
        clear = {flow for flow, keep in zip(both, (True, False), strict=True) if keep in chosen}
        flows.put(name, record, frozenset(clear))
        said[name] = (clear, set(both) - clear)
    allowed = set().union(*(yes for yes, _ in said.values()))
    denied = set().union(*(no for _, no in said.values()))
    assert flows.may_clear == allowed - denied
    assert flows.may_clear is flows.may_clear


def test_an_address_that_comes_and_goes_is_not_remembered_one_by_one() -> None:
    """And yet it weakens nothing: the strongest that was stated of the chassis holds."""
    start = ClusterPolicy(
        generation=1,
        phase=Phase.ENFORCE,
        default=Mode.OFF,
        floor=Mode.OFF,
        pairs=matrix(prod_prod="require"),
    )
    agent = Agent(A, FakeConfigs(lambda _intent: CONFIG))
    agent.put(start, [(A, labelled(A, "10.0.0.1", "prod"))])
    now = 100.0
    for n in range(2, 40):
        agent.put(None, [(B, labelled(B, f"10.0.0.{n}", "prod"))])
        settle(agent, now)
        now += 100.0
    agent.put(None, [(B, None)])
    settle(agent, now)
    settle(agent, now + 100)
    assert not agent.records
    assert len(agent._statements.pairs) == 0
    assert len(agent._statements.peers) == 1
    agent.put(None, [(B, labelled(B, "10.0.0.200", "lab", "off"))])
    settle(agent, now + 200)
    (record,) = agent.records.values()
    assert record.mode is Mode.REQUIRE
    assert record.closed
    agent.put(replace(start, generation=2))
    agent.put(replace(start, generation=2, phase=Phase.OFF))
    assert not agent._statements.peers


def test_one_pairs_failure_is_named_and_leaves_what_was_in_force() -> None:
    """Until it can be decided."""
    agent = agent_of(*two_chassis().items())
    settle(agent)
    before = agent.guard(None)
    agent.put_failure(NAME, "a fault")
    assert agent.undecided == {NAME: "a fault"}
    assert agent.guard(None) == before
    agent.touch(NAME)
    settle(agent)
    assert agent.undecided == {}
    agent.put_failure(ConnName("ovn-x"), "a fault")
    agent.touch(ConnName("ovn-x"))
    settle(agent)
    assert agent.undecided == {}
    (record,) = agent.records.values()
    assert conn_name(record.pair) == NAME
    assert agent.seen.get(NAME, NOTHING_SEEN) == NOTHING_SEEN
    assert agent.latched() == {flows_of(record)[0]}
    agent.release(NAME)
    assert NAME not in agent.reqids
