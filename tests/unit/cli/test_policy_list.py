# SPDX-License-Identifier: Apache-2.0
"""What `policy list` and `policy test` find out."""

from __future__ import annotations

import pytest
from policy_world import chassis, cluster, hosts, labelled, member, published, report

from ovn_ipsec.cli.policy.listing import caret_of, make_listing
from ovn_ipsec.cli.settings import Exit
from ovn_ipsec.cli.trial import try_pairs, unknown
from ovn_ipsec.model.policy import Mode, Phase

RULES = {200: "chassis:hv1 any prefer", 100: "chassis:hv1 chassis:hv2 off", 50: "zone:x any off"}
TEXTS = tuple(f"{number} {text}" for number, text in RULES.items())


def test_rules_have_their_pairs_and_their_notes():
    """By priority, and the default last."""
    listing = make_listing(cluster(*hosts(3), rules=RULES, sb=published(*TEXTS)))
    assert [
        ("200", 2, True, ()),
        ("100", 0, True, ("never applies: 200 matches all its pairs",)),
        ("50", 0, True, ("applies to no pair now",)),
        ("default", 1, True, ()),
    ] == [(line.label, line.pairs, line.in_force, line.notes) for line in listing.lines]
    assert Exit.WELL == listing.exit


def test_a_network_that_asks_for_itself_is_a_line():
    """It counts the pairs that it makes stronger."""
    made = cluster(
        *hosts(3),
        rules={100: "any any off"},
        switches=[("web", {"ovn-ipsec": "require"})],
        memberships={"hv1": member("web"), "hv2": member(reaches=["web"])},
    )
    line = make_listing(made).lines[1]
    assert ("switch", "network:web any require", 1) == (line.label, line.text, line.pairs)


def test_rules_that_sb_does_not_carry_yet_degrade():
    """And so does one that it still carries."""
    made = cluster(*hosts(2), rules={100: "any any prefer"}, sb=published("7 any any off"))
    listing = make_listing(made)
    assert ([False, True], Exit.DEGRADED) == ([x.in_force for x in listing.lines], listing.exit)
    assert listing.held is not None
    assert ("7 any any off",) == listing.held.leftover


def test_while_the_switch_is_off_nothing_is_in_force_and_that_is_well():
    """Whatever SB still says."""
    made = cluster(*hosts(2), rules=RULES, sb=published(phase=Phase.OFF), ipsec=False)
    listing = make_listing(made)
    assert (None, Exit.WELL, False) == (listing.held, listing.exit, listing.lines[0].in_force)


def test_another_default_is_not_in_force():
    """Neither is another profile."""
    made = cluster(*hosts(2), options={"ovn-ipsec-mode": "prefer"}, sb=published())
    assert [False] == [line.in_force for line in make_listing(made).lines]


def test_what_is_in_force_is_counted_from_labels_and_matrix():
    """As controllers read it."""
    rows = hosts(3)
    rules = {100: "chassis:hv1 any off"}
    made = cluster(*rows, rules=rules)
    rows = labelled(made, rows)
    own, rest = (dict(row.encaps[0].options).get("ovn-ipsec-class") for row in rows[:2])
    sb = published("100 chassis:hv1 any off", vnis=frozenset([5])) | {
        "ovn-ipsec-pairs": f"{own}:{rest}=off"
    }
    held = make_listing(cluster(*rows, rules=rules, sb=sb)).held
    assert held is not None
    assert ({"off": 2, "prefer": 0, "require": 1}, 1) == (held.modes, held.vnis)
    assert (7, "enforce", "require", "off") == (
        held.generation,
        held.phase,
        held.default,
        held.floor,
    )


def test_faults_are_listed_with_a_caret_where_there_is_a_column():
    """Of rules, of networks, of the profile, of SB."""
    made = cluster(
        *hosts(2),
        rules={1: "any any of", 2: "network:nil any off", "x": "any any off"},
        switches=[("web", {"ovn-ipsec": "off"})],
        options={"ovn-ipsec-profile": "pq"},
        privates={"hv1": report()},
        sb=published() | {"ovn-ipsec-phase": "\x1b"},
    )
    listing = make_listing(made)
    assert [True, False, False, True] == [bool(caret_of(error)) for error in listing.errors]
    assert (2, Exit.DEGRADED) == (len(listing.problems), listing.exit)
    assert all(text.isprintable() for text in listing.problems)


def test_a_trial_names_the_rule_of_each_pair():
    """Or the default, or the network's own setting."""
    made = cluster(
        chassis("hv1", "10.0.0.1", "10.9.0.1"),
        chassis("hv2", "10.0.0.2"),
        rules={100: "cidr:10.9.0.0/16 any prefer"},
        switches=[("web", {"ovn-ipsec": "require"})],
    )
    assert [
        (Mode.REQUIRE, "the default: no rule matches"),
        (Mode.PREFER, "rule 100: cidr:10.9.0.0/16 any prefer"),
    ] == [(line.treatment.mode, line.decided_by) for line in try_pairs(made, "hv1", "hv2").lines]
    members = {"hv1": member("web"), "hv2": member("web")}
    made = cluster(
        *hosts(2),
        rules={100: "any any off"},
        switches=[("web", {"ovn-ipsec": "require"})],
        memberships=members,
    )
    (line,) = try_pairs(made, "hv1", "hv2").lines
    assert line.decided_by == (
        "the network's own setting, network:web any require; without it rule 100: any any off"
    )


def test_a_trial_without_pairs_says_why():
    """The same words as explain."""
    made = cluster(*hosts(1))
    trial = try_pairs(made, "hv1", "hv1")
    assert ((), "a chassis has no tunnel to itself") == (trial.lines, trial.reason)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hv1", ""),
        ("hv11", "there is no chassis hv11 that can be a peer; did you mean hv1?"),
        ("\x1b", "there is no chassis ? that can be a peer"),
    ],
)
def test_an_unknown_chassis_is_named_with_the_one_that_may_be_meant(name: str, expected: str):
    """What is shown does nothing to a terminal."""
    assert expected == unknown(cluster(*hosts(1)), name)
