# SPDX-License-Identifier: Apache-2.0
"""What each rule decides, what other rules would change, and which rules never decide."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_world import chassis, cluster, hosts, labelled, member, published, report

from ovn_ipsec.cli.decisions import (
    EXAMPLES,
    Evaluation,
    Inability,
    asked,
    covers,
    difference,
    effective,
    first_examples,
    shadowed,
    tally,
    unable,
    words,
)
from ovn_ipsec.cli.pairs import between
from ovn_ipsec.cli.view import Snapshot
from ovn_ipsec.model.policy import Mode, Phase, Profile, Rule, Treatment
from ovn_ipsec.policy.judgement import treatment_of
from ovn_ipsec.policy.ruleset import RuleSet
from ovn_ipsec.schema.encap import EncapIntent
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.rules import parse_rule
from ovn_ipsec.schema.sb_global import parse_policy

SELECTORS = (
    *("any", "chassis:hv*", "chassis:hv?", "chassis:hv1", "chassis:*", "host:x", "zone:a"),
    *("zone:b", "az:one", "cidr:10.0.0.0/8", "cidr:10.0.0.0/30", "cidr:fd00::/8"),
    *("network:web", "network:db"),
)
FAR_SELECTORS = ("remote:any", "remote:chassis:hv1", "remote:host:x", "remote:cidr:10.0.0.0/30")
REQUIRE, OFF = Treatment(mode=Mode.REQUIRE), Treatment(mode=Mode.OFF)


def rule(text: str, priority: int = 100) -> Rule:
    return parse_rule(Place(table="NB_Global", row=".", key="x"), priority, text)


def instead(made: Snapshot, *rules: Rule) -> RuleSet:
    """Other rules than NB asks for."""
    return replace(asked(made), rules=rules)


@st.composite
def world(draw) -> Snapshot:
    rows, memberships = [], {}
    for n in range(draw(st.integers(0, 5))):
        rows.append(
            chassis(
                f"hv{n}",
                f"10.0.{draw(st.integers(0, 1))}.{n + 1}",
                f"fd00::{n + 1}",
                zones=draw(st.sets(st.sampled_from("ab"))),
                hostname=draw(st.sampled_from("xy")),
                other=draw(st.sampled_from([{}, {"is_interconn": "true"}, {"is_remote": "true"}])),
            )
        )
        own = draw(st.sets(st.sampled_from(["web", "db"])))
        memberships[f"hv{n}"] = member(*own, reaches=draw(st.sets(st.sampled_from(["web", "db"]))))
    switches = [("web", draw(st.sampled_from([{}, {"ovn-ipsec": "prefer"}]))), ("db", {})]
    ends = st.tuples(st.sampled_from(SELECTORS), st.sampled_from(SELECTORS))
    here = [one for one in SELECTORS if not one.startswith("network:")]
    ends |= st.tuples(st.sampled_from(FAR_SELECTORS), st.sampled_from(here))
    texts = draw(
        st.dictionaries(
            st.integers(1, 6),
            st.tuples(ends, st.sampled_from(list(Mode))).map(
                lambda found: " ".join([*found[0], found[1]])
            ),
        )
    )
    return cluster(*rows, rules=texts, switches=switches, memberships=memberships)


@given(world())
def test_every_pair_is_decided_once(made: Snapshot):
    """By what the rule book says of it, asked pair by pair."""
    evaluation = Evaluation(made, asked(made))
    by: Counter[object] = Counter()
    for one, other in combinations(made.chassis.values(), 2):
        for ends in between(one, other):
            verdict = evaluation.verdict(*(evaluation.seen(e.view, e.encap) for e in ends))
            by[verdict.network or (verdict.rule and verdict.rule.priority)] += 1
    found = tally(made, asked(made))
    assert by == Counter({**found.rules, **found.networks, None: found.default})
    assert by.total() == found.total


@given(world())
def test_a_rule_that_is_said_never_to_decide_decides_nothing(made: Snapshot):
    """In no cluster."""
    found = tally(made, asked(made))
    for low, high in shadowed(made.asked.rules).items():
        assert (0, True) == (found.rules.get(low, 0), low < high)


@given(world(), world())
def test_a_difference_counts_every_pair(made: Snapshot, other: Snapshot):
    """Once, as changed or as unchanged; the same rules change nothing."""
    before, after = asked(made), asked(other)
    found = difference(made, before, after)
    changed = sum(change.count for change in found.changes)
    assert tally(made, before).total == changed + found.same
    assert () == difference(made, before, before).changes
    assert all(change.old != change.new for change in found.changes)


def test_weakened_pairs_come_first_and_are_counted():
    """They are what an operator must not overlook."""
    made = cluster(*hosts(3), rules={100: "chassis:hv3 any prefer"})
    after = instead(made, rule("chassis:hv1 chassis:hv2 off"), rule("any any require", 50))
    found = difference(made, asked(made), after)
    assert [(True, 1), (False, 2)] == [(c.weakens, c.count) for c in found.changes]
    assert (1, 0) == (found.weakened, found.same)


def test_examples_are_twenty_at_most():
    """However many pairs change."""
    made = cluster(*hosts(12))
    found = difference(made, asked(made), instead(made, rule("any any off")))
    assert [66] == [change.count for change in found.changes]
    assert EXAMPLES == len(first_examples(found.changes))


def test_another_profile_is_a_change():
    """But weakens nothing."""
    made = cluster(*hosts(2))
    after = instead(made, rule("any any require profile=cnsa"))
    (change,) = difference(made, asked(made), after).changes
    assert ("require", "require cnsa", False) == (
        words(change.old),
        words(change.new),
        change.weakens,
    )


def test_what_is_clear_has_no_profile():
    """Even where the cluster's is not the default."""
    assert "off" == words(Treatment(mode=Mode.OFF, profile=Profile.CNSA))


FAR = chassis("far", "10.1.0.1", other={"is_remote": "true"})
NEAR = chassis("near", "10.1.0.2", other={"is_interconn": "true"})


def test_only_rules_for_them_reach_into_other_availability_zones():
    """So a rule from before there were such rules weakens no pair with them."""
    made = cluster(FAR, NEAR, rules={100: "any any off", 50: "cidr:10.0.0.0/8 any off"})
    assert (1, {}) == (tally(made, asked(made)).default, tally(made, asked(made)).rules)
    assert () == unable(made, instead(made, rule("any any require profile=pq"))).refused
    made = cluster(FAR, NEAR, rules={100: "any any off", 50: "any remote:cidr:10.1.0.0/24 prefer"})
    assert (0, {50: 1}) == (tally(made, asked(made)).default, tally(made, asked(made)).rules)


def test_a_suite_that_a_gateway_cannot_do_across_zones_is_named():
    """By the rules that concern its pairs there; of the other zone's chassis nothing is known."""
    rules = [rule("any remote:chassis:far require profile=pq"), rule("any remote:any require", 50)]
    made = cluster(FAR, NEAR, *hosts(2), privates={"near": report(), "hv1": report()})
    (blocked,) = unable(made, instead(made, *rules)).blocked
    assert blocked.startswith("profile pq: the IKE daemon of near cannot do it, and its pairs")
    for one in (
        "any remote:host:x require profile=pq",
        "chassis:hv9 remote:any require profile=pq",
    ):
        assert () == unable(made, instead(made, rule(one))).blocked
    other = replace(FAR, encaps=(replace(FAR.encaps[0], type="vxlan"),))
    made = cluster(other, NEAR, privates={"near": report()})
    assert () == unable(made, instead(made, *rules)).blocked


@pytest.mark.parametrize(
    ("rules", "sb", "expected"),
    [
        ({200: "any any prefer"}, published("100 any any off"), [200]),
        ({200: "any any prefe"}, published("100 any any off"), [100]),
        ({200: "network:web any off"}, published("100 any any off"), [100]),
        ({200: "any any prefer", 300: "x"}, published("100 any any off", phase=Phase.OFF), [200]),
        ({200: "any any prefer", 300: "x"}, {}, [200]),
    ],
)
def test_the_last_good_policy_holds_while_nb_is_refused(
    rules: dict[int, str], sb: dict[str, str], expected: list[int]
):
    """And what NB says where there is none."""
    made = cluster(rules=rules, sb=sb)
    assert expected == [r.priority for r in effective(made).rules]


@given(world())
def test_labels_and_matrix_say_what_the_rules_say(made: Snapshot):
    """What northd would write is read back as the verdict of every pair."""
    evaluation = Evaluation(made, asked(made))
    views = [view for view in made.chassis.values() if not view.chassis.is_remote]
    signatures = [evaluation.seen(v, e).signature for v in views for e in v.chassis.encaps]
    matrix = evaluation.book.matrix([s for s in signatures if s is not None])
    policy = parse_policy(published(pairs=matrix.pairs, floor=matrix.floor))
    assert policy is not None
    for ends in (e for one, other in combinations(views, 2) for e in between(one, other)):
        both = [evaluation.seen(end.view, end.encap) for end in ends]
        names = [evaluation.book.class_name(s) for s, _ in both if s is not None]
        rows = [
            EncapIntent(encap=end.encap.encap, mode=Mode.REQUIRE, class_name=name)
            for end, name in zip(ends, names, strict=True)
        ]
        assert evaluation.verdict(*both).treatment == treatment_of(policy, rows[0], rows[1])


def test_the_builder_of_labels_labels_as_northd_does():
    """No class without rules, and the default mode."""
    rows = hosts(1)
    (raw,) = labelled(cluster(*rows), rows)
    assert {"ovn-ipsec": "require"} == raw.encaps[0].options


def test_a_chassis_that_cannot_do_a_profile_is_named():
    """Those without a controller are not asked; after three the rest is counted."""
    rows = (*hosts(5), chassis("silent", "10.0.0.9"))
    old = {f"hv{n}": report(profiles=frozenset({Profile.DEFAULT})) for n in range(1, 6)}
    made = cluster(*rows, privates=old)
    after = instead(made, rule("any any require profile=cnsa"))
    text = "profile cnsa: the IKE daemon of hv1, hv2, hv3 and 2 more cannot do it"
    assert (text,) == unable(made, after).refused
    (text,) = unable(made, instead(made, rule("chassis:hv1 any require profile=pq"))).refused
    assert "hv1, hv2, hv3 and" in text
    assert Inability(refused=(), blocked=()) == unable(
        made, instead(made, rule("chassis:hv1 any off"))
    )


def test_two_chassis_are_named_without_counting_more():
    """Only those that would need it."""
    made = cluster(*hosts(3), privates={f"hv{n}": report() for n in (1, 2, 3)})
    after = instead(made, rule("chassis:hv1 chassis:hv2 require profile=pq"))
    assert ("profile pq: the IKE daemon of hv1, hv2 cannot do it",) == unable(made, after).refused


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("any any", "zone:a network:web", True),
        ("zone:a any", "zone:b zone:a", True),
        ("zone:a zone:a", "zone:a zone:b", False),
        ("zone:a any", "az:a any", False),
        ("chassis:hv* any", "chassis:hv1? any", True),
        ("chassis:hv? any", "chassis:hv* any", False),
        ("chassis:hv? any", "chassis:hv? any", True),
        ("chassis:h.1 any", "chassis:hv1 any", False),
        ("chassis:hv1 any", "host:hv1 any", False),
        ("host:*.example any", "any host:a.example", True),
        ("cidr:10.0.0.0/8 any", "cidr:10.1.0.0/16 any", True),
        ("cidr:10.1.0.0/16 any", "cidr:10.0.0.0/8 any", False),
        ("cidr:10.0.0.0/8 any", "cidr:192.168.0.0/16 any", False),
        ("cidr:::/0 any", "cidr:10.0.0.0/8 any", False),
        ("network:web any", "network:web network:db", True),
        ("network:web any", "zone:a network:web", True),
        ("network:web any", "network:db any", False),
        ("zone:a any", "any any", False),
    ],
)
def test_which_rules_cover_which(wide: str, narrow: str, expected: bool):
    """Either way round."""
    one, other = rule(f"{wide} off").selectors, rule(f"{narrow} off").selectors
    assert [expected, expected] == [covers(one, other), covers(one[::-1], other)]


def test_a_chassis_whose_address_is_contested_must_be_able_too():
    """Northd asks every encap, whoever else claims its address."""
    rows = (chassis("hv1", "10.0.0.9"), chassis("hv2", "10.0.0.9"))
    made = cluster(*rows, privates={"hv1": report(), "hv2": report()})
    after = instead(made, rule("any any require profile=pq"))
    (text,) = unable(made, after).refused
    assert text == "profile pq: the IKE daemon of hv1, hv2 cannot do it"


def test_more_classes_than_sb_can_carry_are_said():
    """Northd would not take them over."""
    made = cluster(*(chassis(f"hv{n}", f"10.0.{n // 250}.{n % 250 + 1}") for n in range(300)))
    each = [rule(f"chassis:hv{n} chassis:hv{n} require", 1000 - n) for n in range(300)]
    (text,) = unable(made, instead(made, *each, rule("any any off", 1))).refused
    assert text.endswith("bytes: they make 300 classes, more than SB_Global can carry")
