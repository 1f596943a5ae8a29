# SPDX-License-Identifier: Apache-2.0
"""How a pair is treated: classes, and that a row weakens nothing by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.plan.agent import Agent
from controller.plan.cluster.weakening import Statement, Statements, rule
from controller.plan.cluster.world import Label, Offers, PairIntent, World
from controller.plan.connection import ConnName, conn_name
from controller.plan.pair.facts import Context
from ovn_ipsec.model.policy import ClusterPolicy, Mode, Phase, Profile, Treatment
from ovn_ipsec.schema.encap import (
    ENCAPS_MAX,
    ERRORS_MAX,
    RawChassis,
    RawEncap,
    parse_chassis,
)
from tests import worlds
from tests.contracts.ike_backend import config
from tests.worlds import A, B, labelled, matrix, policy, two_classes

NAME = conn_name(config(addresses=("10.0.0.1", "10.0.0.2")).pair)
IPS = {A: "10.0.0.1", B: "10.0.0.2"}
MODES = st.sampled_from(Mode)


def wanted(
    generation: int = 1, default: Mode = Mode.REQUIRE, floor: Mode = Mode.OFF, **pairs: str
) -> ClusterPolicy:
    return replace(policy(Phase.ENFORCE, default, floor, generation), pairs=matrix(**pairs))


def agent_of(rows: worlds.Rows, start: ClusterPolicy) -> Agent:
    agent = Agent(A)
    agent.put(start, rows.items())
    return agent


def mode(agent: Agent) -> Mode:
    intent = agent.intent(NAME)
    assert intent is not None
    return intent.mode


@pytest.mark.parametrize(
    ("labels", "how", "expected"),
    [
        (("lab", "prod"), {"lab_prod": "off"}, ("off", "default")),
        (("prod", "lab"), {"lab_prod": "off"}, ("off", "default")),
        (("lab", "prod"), {"lab_prod": "prefer/cnsa"}, ("prefer", "cnsa")),
        (("lab", "lab"), {"lab_lab": "require/pq"}, ("require", "pq")),
        (("lab", "lab"), {"lab_prod": "off"}, ("require", "chacha20")),
        (("lab", "new"), {"lab_prod": "off"}, ("require", "chacha20")),
        (("lab", ""), {"lab_prod": "off"}, ("require", "chacha20")),
        (("", "prod"), {"lab_prod": "off"}, ("require", "chacha20")),
        (("lab", "prod"), {"lab_prod": "off", "floor": "prefer"}, ("prefer", "default")),
    ],
)
def test_the_matrix_decides_and_the_default_where_it_says_nothing(
    labels: tuple[str, str], how: dict[str, str], expected: tuple[str, str]
) -> None:
    """Never below the floor; a class that it does not know is as good as none."""
    floor = Mode(how.pop("floor", "off"))
    said = replace(wanted(floor=floor, **how), profile=Profile.CHACHA20)
    for rows in (two_classes(*labels), two_classes(*labels[::-1])):
        intent = agent_of(rows, said).intent(NAME)
        assert intent is not None
        assert expected == (intent.mode.value, intent.profile.value)


def test_a_new_matrix_or_profile_marks_and_changes_pairs() -> None:
    """Without a change of the default or the floor."""
    agent = agent_of(two_classes(), wanted())
    assert Mode.REQUIRE is mode(agent)
    agent.due(0, 99)
    assert agent.put(wanted(2, lab_prod="prefer"))
    assert Mode.PREFER is mode(agent)
    assert not agent.idle
    agent.put(replace(wanted(3), profile=Profile.CNSA))
    intent = agent.intent(NAME)
    assert intent is not None
    assert Profile.CNSA is intent.profile


def test_one_changed_row_marks_one_pair() -> None:
    """Whatever the number of the others."""
    rows = {**two_classes(), "chC": labelled("chC", "10.0.0.3", "prod")}
    agent = agent_of(rows, wanted(lab_prod="prefer"))
    agent.due(0, 99)
    agent.put_chassis(B, labelled(B, IPS[B], "lab"))
    assert [NAME] == agent.due(0, 99)


@pytest.mark.parametrize(("name", "other"), [(A, B), (B, A)])
@pytest.mark.parametrize(
    ("bad", "key", "text"),
    [
        (("lab", "prefer"), "options:ovn-ipsec-class", "lab"),
        (("", "prefer"), "options:ovn-ipsec", "prefer"),
    ],
)
def test_a_label_that_weakens_is_refused_and_named(
    name: str, other: str, bad: tuple[str, str], key: str, text: str
) -> None:
    """At either end, once in the log, in the digest until it is put right."""
    start = wanted(default=Mode.PREFER, lab_prod="off", prod_prod="require")
    rows = two_classes("prod", "prod", "prefer")
    agent = agent_of(rows, start)
    agent.put_chassis(name, labelled(name, IPS[type(A)(name)], *bad))
    assert Mode.REQUIRE is mode(agent)
    (error,) = agent.all_refusals()
    found = (error.table, error.row, error.key, error.text)
    assert ("Encap", f"{name}/{IPS[type(A)(name)]}", key, text) == found
    assert [error.diagnostics()] == [one.diagnostics() for one in agent.take_refusals()]
    agent.put_chassis(other, labelled(other, IPS[type(A)(other)], "prod", "prefer"))
    assert [] == agent.take_refusals()
    agent.put_chassis(name, rows[type(A)(name)])
    assert [] == [*agent.all_refusals(), *agent.take_refusals()]


def test_labels_of_one_chassis_that_weaken_are_few_refusals() -> None:
    """However many encaps it has, each of which weakens a pair."""
    ips = [f"10.7.0.{number}" for number in range(1, ENCAPS_MAX + 1)]
    rows = two_classes("prod", "prod", "prefer")
    strong = {"ovn_ipsec": "prefer", "ovn_ipsec-class": "prod"}
    rows[B] = worlds.chassis(B, *(worlds.encap(ip, **strong) for ip in ips))
    agent = agent_of(rows, wanted(default=Mode.PREFER, prod_prod="require"))
    assert [] == [*agent.all_refusals()]
    weak = worlds.chassis(B, *(worlds.encap(ip, ovn_ipsec="prefer") for ip in ips))
    agent.put_chassis(B, weak)
    assert 0 < len([*agent.all_refusals()]) <= ERRORS_MAX


def test_what_is_weaker_is_taken_with_a_new_generation_in_the_same_transaction() -> None:
    """And said nothing of; what is stronger at any time."""
    agent = agent_of(two_classes("prod", "prod"), wanted(prod_prod="prefer", lab_prod="off"))
    weaker = {A: labelled(A, IPS[A], "lab")}
    agent.put(wanted(2, prod_prod="prefer", lab_prod="off"), weaker.items())
    assert Mode.OFF is mode(agent)
    assert [] == [*agent.all_refusals(), *agent.take_refusals()]
    agent.put_chassis(A, labelled(A, IPS[A], "prod"))
    assert Mode.PREFER is mode(agent)
    agent.put(None, weaker.items())
    assert Mode.PREFER is mode(agent)
    agent.put(wanted(3, prod_prod="prefer", lab_prod="off"))
    assert Mode.OFF is mode(agent)
    assert [] == [*agent.all_refusals()]


def test_an_older_generation_is_no_new_one() -> None:
    """A southbound was restored, and one writer's row asks for less in it."""
    agent = agent_of(two_classes("prod", "prod"), wanted(10, prod_prod="require", lab_prod="off"))
    older = wanted(5, prod_prod="require", lab_prod="off")
    agent.put(older, {A: labelled(A, IPS[A], "lab")}.items())
    assert Mode.REQUIRE is mode(agent)
    assert [*agent.all_refusals()]
    agent.put(wanted(7, prod_prod="require", lab_prod="off"))
    assert Mode.REQUIRE is mode(agent)
    agent.put(wanted(11, prod_prod="require", lab_prod="off"))
    assert Mode.OFF is mode(agent)


def test_deleting_and_writing_again_is_no_way_round() -> None:
    """Neither the keys nor the row, however long it was away."""
    agent = agent_of(two_classes("prod", "prod"), wanted(default=Mode.OFF, prod_prod="require"))
    settle(agent, 0)
    agent.put_chassis(B, labelled(B, IPS[B], mode=""))
    assert Mode.REQUIRE is mode(agent)
    agent.put_chassis(B, None)
    settle(agent, 0)
    settle(agent, 100)
    assert not agent.records
    agent.put_chassis(B, labelled(B, IPS[B], "lab", "off"))
    assert Mode.REQUIRE is mode(agent)


def settle(agent: Agent, now: float) -> None:
    for name in agent.due(now, 99):
        context = Context(phase=agent.policy.phase, now=now, this_chassis=A)
        agent.decide(name, context)


@pytest.mark.parametrize("name", [A, B])
def test_a_restart_of_ovn_controller_closes_nothing(name: str) -> None:
    """Its rows go and return without our keys; what was stated holds until they are back."""
    start = wanted(lab_prod="off")
    agent = agent_of(two_classes(), start)
    settle(agent, 0)
    agent.put_chassis(name, None)
    settle(agent, 1)
    agent.put_chassis(name, labelled(name, IPS[type(A)(name)], mode=""))
    assert Mode.OFF is mode(agent)
    settle(agent, 2)
    assert [Mode.OFF] == [record.mode for record in agent.records.values()]
    agent.put(replace(start, phase=Phase.ESTABLISH))
    assert Mode.OFF is mode(agent)
    agent.put(wanted(2, lab_prod="off"))
    assert Mode.REQUIRE is mode(agent)
    agent.put_chassis(name, two_classes()[type(A)(name)])
    assert Mode.OFF is mode(agent)
    assert [] == agent.take_refusals()


def test_a_pair_that_never_said_anything_takes_what_policy_says() -> None:
    """So does one that a controller finds when it starts."""
    agent = agent_of(worlds.two_chassis(), wanted())
    assert Mode.REQUIRE is mode(agent)
    agent.put_chassis(B, labelled(B, IPS[B], mode="off"))
    agent.put_chassis(A, labelled(A, IPS[A], mode="off"))
    assert Mode.OFF is mode(agent)


def test_what_was_stated_ends_with_off() -> None:
    """The rows lose their keys in the same generation."""
    agent = agent_of(two_classes(), wanted(lab_prod="require/cnsa"))
    off = replace(policy(Phase.OFF, Mode.OFF), pairs={})
    agent.put(off, [(name, labelled(name, ip, mode="")) for name, ip in IPS.items()])
    intent = agent.intent(NAME)
    assert intent is not None
    assert (Mode.OFF, Profile.DEFAULT) == (intent.mode, intent.profile)


def test_nobody_writes_the_rows_of_another_zone() -> None:
    """A pair with an is-remote chassis is stated by its other end alone."""
    rows = worlds.is_remote(interconn=True)
    agent = agent_of({**rows, A: worlds.chassis(A, "10.0.0.1", is_interconn="true")}, wanted())
    intent = agent.intent(NAME)
    assert intent is not None
    assert not intent.stated
    said = worlds.encap("10.0.0.1", ovn_ipsec="require")
    agent.put_chassis(A, worlds.chassis(A, said, is_interconn="true"))
    intent = agent.intent(NAME)
    assert intent is not None
    assert intent.stated


def test_no_class_of_another_zone_weakens_a_pair() -> None:
    """ovn-ic copies the keys of the other zone's gateway, whose class may be called like ours."""
    rows = {
        A: worlds.chassis(A, "10.0.0.1", is_interconn="true"),
        B: labelled(B, "10.0.0.2", "lab", is_remote="true"),
    }
    agent = agent_of(rows, wanted(lab_rest="off", lab_lab="off"))
    for own in ("rest", "lab"):
        agent.put_chassis(A, labelled(A, "10.0.0.1", own, is_interconn="true"))
        intent = agent.intent(NAME)
        assert intent is not None
        assert Mode.REQUIRE is intent.mode


def across(
    text: str, generation: int = 1, default: Mode = Mode.REQUIRE, floor: Mode = Mode.REQUIRE
) -> ClusterPolicy:
    """A policy with one rule."""
    return replace(policy(Phase.ENFORCE, default, floor, generation), rules=(f"100 {text}",))


def gateways(host: str = "b.two", asked: str = "require") -> worlds.Rows:
    """Ours, and one of another zone with a hostname and a mode in its row."""
    said = RawEncap(type="geneve", ip="10.0.0.2", options={"ovn-ipsec": asked})
    config = {"is-remote": "true"}
    far = RawChassis(name=B, hostname=host, other_config=config, encaps=(said,))
    near = worlds.encap("10.0.0.1", ovn_ipsec="require")
    return {A: worlds.chassis(A, near, is_interconn="true"), B: parse_chassis(far)}


@pytest.mark.parametrize("asked", ["off", "prefer", "require", "junk"])
def test_a_rule_across_zones_decides_whatever_the_other_row_says(asked: str) -> None:
    """Also below the floor, which is for pairs within the zone; and rules of the zone do not."""
    agent = agent_of(gateways(asked=asked), across("any remote:host:*.two off"))
    assert Mode.OFF is mode(agent)
    agent = agent_of(gateways(asked=asked), across("any remote:any require", default=Mode.PREFER))
    assert Mode.REQUIRE is mode(agent)
    agent = agent_of(gateways(asked=asked), across("any any off"))
    assert Mode.REQUIRE is mode(agent)


def test_another_rule_across_zones_applies_with_its_generation() -> None:
    """And its removal."""
    agent = agent_of(gateways(), across("any remote:any require"))
    agent.put(across("any remote:any off", 2))
    assert Mode.OFF is mode(agent)
    agent.put(replace(across("", 3), rules=()))
    assert Mode.REQUIRE is mode(agent)


def test_no_row_moves_a_pair_to_a_weaker_rule_within_a_generation() -> None:
    """A host name is what another zone says of itself; the refusal names what has changed."""
    agent = agent_of(gateways("b.one"), across("any remote:host:*.two off"))
    agent.put_chassis(B, gateways("b.two")[B])
    assert Mode.REQUIRE is mode(agent)
    (error,) = agent.refusals[B]
    assert ("Chassis", f"{A} or {B}", "hostname or zones") == (error.table, error.row, error.key)
    assert "a change of what rules match would weaken require to off" in error.reason
    agent.put(across("any remote:host:*.two off", 2))
    assert Mode.OFF is mode(agent)
    agent.put_chassis(B, gateways("b.one")[B])
    assert Mode.REQUIRE is mode(agent)


def test_a_pair_that_a_rule_across_zones_opens_needs_no_keys_in_a_row() -> None:
    """ovn-controller makes our row anew without them when it restarts."""
    agent = agent_of(gateways(), across("any remote:any off"))
    agent.put_chassis(A, worlds.chassis(A, "10.0.0.1", is_interconn="true"))
    assert Mode.OFF is mode(agent)


def test_statements_of_pairs_that_are_gone_are_forgotten_with_the_generation() -> None:
    """Nothing grows for ever; a peer that lingers keeps its own."""
    agent = agent_of(two_classes(), wanted(lab_prod="prefer"))
    settle(agent, 0)
    agent.put_chassis(B, None)
    settle(agent, 1)
    agent.put(wanted(2, lab_prod="prefer"))
    assert {NAME} == agent._statements.pairs.keys()
    settle(agent, 99)
    assert set() == agent._statements.pairs.keys()
    assert {B} == agent._statements.peers.keys()
    agent.put(wanted(3, lab_prod="prefer"))
    assert set() == agent._statements.peers.keys()


INTENT = PairIntent(pair=config().pair, mode=Mode.OFF, csum=None)


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), MODES, MODES), min_size=1, max_size=20),
)
def test_never_weaker_than_the_strongest_stated_in_this_generation(
    events: list[tuple[bool, bool, Mode, Mode]],
) -> None:
    """Whatever rows say in between; a refusal is said exactly when more holds than is asked."""
    statement, generation = None, 1
    strongest = floor = Mode.OFF
    for raises, stated, asked, new_floor in events:
        if raises:
            generation, strongest, floor = generation + 1, Mode.OFF, new_floor
        offered = max(asked, floor, key=lambda one: one.strength)
        said = policy(Phase.ENFORCE, floor=floor, generation=generation)
        intent = replace(INTENT, mode=offered, stated=stated)
        ruling = rule(statement, intent, said)
        statement = ruling.statement
        if stated:
            strongest = max(strongest, offered, key=lambda one: one.strength)
            assert strongest is ruling.intent.mode
            assert ruling.refused == (strongest is not offered)
        else:
            assert ruling.intent.mode.strength >= max(strongest.strength, floor.strength)
            assert not ruling.refused


def test_a_world_has_no_pair_without_rows() -> None:
    """Asking costs nothing."""
    assert Offers() == World().pairs_with(A, B, wanted())


def test_of_pairs_that_are_gone_the_strongest_statement_is_kept_for_a_generation() -> None:
    """And with the next one those of pairs that there are none of are forgotten."""
    label = Label()

    def stated(text: Mode) -> Statement:
        return Statement(generation=1, treatment=Treatment(mode=text), labels=(label, label))

    names = [ConnName(f"ovn-chB@10.0.0.{n}%10.0.0.1") for n in range(4)]
    modes = (Mode.REQUIRE, Mode.OFF, Mode.PREFER, Mode.OFF)
    statements = Statements()
    statements.pairs = dict(zip(names, map(stated, modes), strict=True))
    for name in (*names[:2], ConnName("unknown")):
        statements.merge(name, "chB")
    assert {"chB": stated(Mode.REQUIRE)} == statements.peers
    statements.forget(lambda name: name == names[2])
    assert ({names[2]: stated(Mode.PREFER)}, {}) == (statements.pairs, statements.peers)
