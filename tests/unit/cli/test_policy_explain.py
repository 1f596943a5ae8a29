# SPDX-License-Identifier: Apache-2.0
"""What `explain` says of two chassis: why, how it knows, and what to do next."""

from __future__ import annotations

from typing import Any

import pytest
from policy_world import chassis, cluster, hosts, labelled, published, report

from ovn_ipsec.cli.explain import as_json, chassis_rows
from ovn_ipsec.cli.explanation import (
    END_QUARANTINE,
    HELD,
    ONE_ADDRESS,
    SEE_NETWORK,
    SEE_ROLLOUT,
    WHO_WRITES,
    Explanation,
    explain,
    why_none,
)
from ovn_ipsec.cli.judge import FIX_KEY, NO_AGENT, NO_NORTHD, SEE_LOG
from ovn_ipsec.cli.settings import Exit
from ovn_ipsec.model.policy import Mode, Phase, Profile, Treatment
from ovn_ipsec.model.status import PairCounts
from ovn_ipsec.schema.encap import RawChassis

BOTH = {"hv1": report(), "hv2": report()}
KEY = ("hv2", "10.0.0.1", "10.0.0.2")


def found(*rows: RawChassis, live: dict[str, Any] | None = None, key=KEY, **more) -> Explanation:
    """Explain hv1 and hv2 in a cluster that follows its rules, unless told otherwise."""
    rows = rows or hosts(2)
    more = {"privates": BOTH, "sb": published()} | more
    made = cluster(*rows, **more)
    if not any(encap.options for row in rows for encap in row.encaps):
        made = cluster(*labelled(made, rows), **more)
    return explain(made, "hv1", "hv2", {} if live is None else {key: live})


def steps(explanation: Explanation) -> list[tuple[str, str]]:
    return [(finding.subject, finding.next_step) for finding in explanation.findings]


def test_a_pair_that_is_well():
    """The default decides, both follow, and one has all its pairs up."""
    explanation = found()
    (line,) = explanation.pairs
    assert ((), Exit.WELL, "") == (explanation.findings, explanation.exit, explanation.reason)
    assert ("encrypted", "every pair of hv1 that should be encrypted is") == (line.state, line.why)
    assert "the default: no rule matches" == line.decided_by
    assert (Mode.REQUIRE, Mode.REQUIRE) == (line.wanted.mode, line.carried and line.carried.mode)


def test_both_ends_are_shown_with_what_they_match():
    """Row, class and traits."""
    rules = {100: "chassis:hv1 any prefer profile=cnsa"}
    explanation = found(rules=rules, sb=published("100 chassis:hv1 any prefer profile=cnsa"))
    one, other = explanation.pairs[0].ends
    assert ("require", ("chassis:hv1",), ()) == (one.mode, one.traits, other.traits)
    assert (one.class_name, "rest") == (one.class_wanted, other.class_name)
    assert ["hv1", "hv2"] == [row[0] for row in chassis_rows(explanation)]


def test_the_controller_of_either_chassis_knows_best():
    """From both sides; its words are made fit for a terminal."""
    live = {"state": "encrypted", "since_s": 203.5, "suite": "aes\x1b", "last_error": ""}
    live |= {"mode": "require"}
    assert ("encrypted", "says the controller of hv1, treats it as require, for 3 min, aes?") == (
        found(live=live).pairs[0].state,
        found(live=live).pairs[0].why,
    )
    (line,) = found(live={}, key=("hv1", "10.0.0.2", "10.0.0.1")).pairs
    assert ("unknown", "says the controller of hv2") == (line.state, line.why)


@pytest.mark.parametrize("state", ["pending", "blocked"])
def test_a_pair_that_is_not_up_has_a_next_step(state: str):
    """With the last error of its controller."""
    explanation = found(live={"state": state, "last_error": "no answer"})
    assert [("hv1 10.0.0.1 - hv2 10.0.0.2", SEE_NETWORK)] == steps(explanation)
    assert explanation.findings[0].problem.endswith("last error: no answer")


def test_while_encryption_is_off_a_pair_is_clear():
    """And no controller is missed."""
    explanation = found(sb={}, ipsec=False, privates={})
    (line,) = explanation.pairs
    assert (("clear", "encryption is off"), None, Exit.WELL) == (
        (line.state, line.why),
        line.carried,
        explanation.exit,
    )


def test_what_policy_wants_clear_is_clear():
    """When both ends follow it."""
    explanation = found(rules={1: "any any off"}, sb=published("1 any any off") | REST_OFF)
    assert ("clear", Exit.WELL) == (explanation.pairs[0].state, explanation.exit)


REST_OFF = {"ovn-ipsec-pairs": "rest:rest=off"}


@pytest.mark.parametrize(
    ("counts", "phase", "why"),
    [
        (PairCounts(blocked=1, encrypted=2), Phase.ENFORCE, "encrypted or dropped, never clear"),
        (PairCounts(pending=1, encrypted=2), Phase.ESTABLISH, "perhaps clear"),
    ],
)
def test_what_cannot_be_told_is_not_guessed(counts: PairCounts, phase: Phase, why: str):
    """It says where to ask."""
    own = report(counts=counts, phase=phase)
    explanation = found(privates={"hv1": own, "hv2": own}, sb=published(phase=phase))
    (line,) = explanation.pairs
    assert (Exit.CANNOT_TELL, "unknown", True) == (
        explanation.exit,
        line.state,
        line.why.startswith(why),
    )
    assert line.why.endswith("run this on hv1 or hv2 to see this one")


def test_what_policy_wants_clear_needs_no_controller():
    """At neither end, as in ovn-ipsec status; a report that does not parse is another matter."""
    off = {"rules": {1: "any any off"}, "sb": published("1 any any off") | REST_OFF}
    clear = found(**off, privates={})
    (line,) = clear.pairs
    assert (line.state, line.why) == (
        "clear",
        "policy says so, and no controller is needed for that",
    )
    assert (clear.findings, clear.exit) == ((), Exit.WELL)
    junk = found(**off, privates={"hv1": {"ovn-ipsec-agent": "x"}})
    assert ("unknown", Exit.DEGRADED) == (junk.pairs[0].state, junk.exit)


@pytest.mark.parametrize(
    ("ids", "problem", "step"),
    [
        ({}, "no controller", NO_AGENT),
        (report(generation=6), "still at generation 6 enforce", SEE_LOG),
        (report(problem="vici: refused"), "vici: refused", SEE_LOG),
        (report() | {"ovn-ipsec-phase": "\x1b"}, "'\\x1b': expected one of", SEE_LOG),
    ],
)
def test_each_problem_of_a_controller_has_a_next_step(ids: dict[str, str], problem: str, step: str):
    """The chassis is named."""
    explanation = found(privates={"hv1": report(), "hv2": ids})
    assert ([("hv2", step)], Exit.DEGRADED) == (steps(explanation), explanation.exit)
    assert problem in explanation.findings[0].problem


def test_rules_that_are_not_in_force_yet():
    """The rollout is on its way."""
    explanation = found(rules={1: "any any off"})
    pair = "hv1 10.0.0.1 - hv2 10.0.0.2"
    assert [(pair, SEE_ROLLOUT)] == steps(explanation)
    assert "rules say off, SB carries require" == explanation.findings[0].problem


def test_a_network_may_still_be_held():
    """The same rules in force, and another outcome."""
    text = "network:web any off"
    explanation = found(
        rules={1: text},
        switches=[("web", {})],
        sb=published(f"1 {text}", default=Mode.PREFER),
        options={"ovn-ipsec-mode": "prefer"},
    )
    assert [] == steps(explanation)
    rows = tuple(
        chassis(f"hv{n}", f"10.0.0.{n}", options=ROW | {"ovn-ipsec-class": "x"}) for n in (1, 2)
    )
    explanation = found(
        *rows,
        rules={1: text},
        switches=[("web", {})],
        sb=published(f"1 {text}") | {"ovn-ipsec-pairs": "x:x=off"},
    )
    assert [("hv1 10.0.0.1 - hv2 10.0.0.2", HELD)] == steps(explanation)


ROW = {"ovn-ipsec": "require"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"x": "y"}, "its Encap row says nothing instead of require"),
        ({"ovn-ipsec": "off"}, "its Encap row says off instead of require"),
        (ROW | {"ovn-ipsec-class": "x"}, "its Encap row says class x instead of no class"),
    ],
)
def test_a_row_that_says_otherwise_is_found(options: dict[str, str], problem: str):
    """Whoever wrote it."""
    rows = (chassis("hv1", "10.0.0.1", options=options), chassis("hv2", "10.0.0.2", options=ROW))
    explanation = found(*rows)
    assert [("hv1 10.0.0.1", WHO_WRITES)] == steps(explanation)
    assert problem == explanation.findings[0].problem


def test_what_a_row_grants_by_itself_is_not_taken_for_what_is_in_force():
    """Controllers take less only with a new generation, so nobody can tell from SB."""
    rules = {1: "chassis:hv1 any require", 2: "chassis:lab any off"}
    texts = ("2 chassis:lab any off", "1 chassis:hv1 any require")
    rows = (
        chassis("hv1", "10.0.0.1", options=ROW | {"ovn-ipsec-class": "lab"}),
        chassis("hv2", "10.0.0.2", options=ROW | {"ovn-ipsec-class": "rest"}),
    )
    sb = published(*texts) | {"ovn-ipsec-pairs": "lab:rest=off"}
    (line,) = found(*rows, rules=rules, sb=sb).pairs
    assert ("unknown", Mode.OFF) == (line.state, line.carried and line.carried.mode)


def test_a_chassis_of_another_zone_is_asked_for_nothing():
    """It has no digest here, and nobody labels its encaps."""
    near = chassis("hv1", "10.0.0.1", other={"is_interconn": "true"})
    far = chassis("hv2", "10.0.0.2", other={"is_remote": "true"})
    explanation = found(near, far, privates={"hv1": report()})
    (line,) = explanation.pairs
    assert ([], "encrypted") == (steps(explanation), line.state)
    assert "no other applies across zones" in line.decided_by
    assert ((), "") == (line.ends[1].traits, line.ends[1].class_wanted)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected", "by"),
    [
        ("prefer", "require", Mode.REQUIRE, "the other availability zone, whose row of hv2"),
        ("require", "prefer", Mode.REQUIRE, "the default: no rule with remote: matches"),
        ("prefer", "", Mode.PREFER, "the default: no rule with remote: matches"),
    ],
)
def test_the_stronger_of_two_zones_decides(ours: str, theirs: str, expected: Mode, by: str):
    """What another zone's row says is that zone's policy; its class is none of ours."""
    mode = Mode(ours)
    rest = {"ovn-ipsec-class": "lab"}
    near = chassis("hv1", "10.0.0.1", other={"is_interconn": "true"}, options={"ovn-ipsec": ours})
    asked = {"ovn-ipsec": theirs} if theirs else {}
    far = chassis("hv2", "10.0.0.2", other={"is_remote": "true"}, options=asked | rest)
    sb = published(default=mode, floor=Mode.OFF) | {"ovn-ipsec-pairs": "lab:lab=off"}
    options = {"ovn-ipsec-mode": ours}
    explanation = found(near, far, privates={"hv1": report()}, sb=sb, options=options)
    (line,) = explanation.pairs
    assert (expected, expected) == (line.wanted.mode, line.carried and line.carried.mode)
    assert line.decided_by.startswith(by)
    assert [] == steps(explanation)
    assert "" == line.ends[1].class_name


@pytest.mark.parametrize("theirs", ["off", "prefer", "require"])
def test_a_rule_across_zones_is_named_and_decides_alone(theirs: str):
    """The other zone's row carries its default, whatever its own rules say."""
    near = chassis("hv1", "10.0.0.1", other={"is_interconn": "true"}, options=ROW)
    far = chassis("hv2", "10.0.0.2", other=REMOTE, options={"ovn-ipsec": theirs})
    text = "remote:chassis:hv2 chassis:hv1 prefer profile=cnsa"
    above = {200: "any any off", 150: "any remote:host:x off"}
    sb = published(*(f"{number} {one}" for number, one in above.items()), f"100 {text}")
    explanation = found(near, far, rules=above | {100: text}, sb=sb, privates={"hv1": report()})
    (line,) = explanation.pairs
    assert f"rule 100: {text}" == line.decided_by
    assert Treatment(mode=Mode.PREFER, profile=Profile.CNSA) == line.wanted == line.carried
    assert ("remote:chassis:hv2",) == line.ends[1].traits
    assert ("", "", [("hv1 10.0.0.1", WHO_WRITES)]) == (
        line.ends[1].class_name,
        line.ends[1].class_wanted,
        steps(explanation),
    )


def test_what_the_cluster_lacks_is_said_first():
    """An error in NB, junk in SB, a cipher suite that an end cannot do, nobody who answers."""
    explanation = found(reported={"ovn-ipsec-error": "x"}, options={"ovn-ipsec-profile": "pq"})
    assert ("cluster", FIX_KEY) == steps(explanation)[0]
    assert "profile pq: the IKE daemon of hv1, hv2 cannot do it" in [
        finding.problem for finding in explanation.findings
    ]
    explanation = found(sb=published() | {"ovn-ipsec-phase": "x"})
    assert [("cluster", NO_NORTHD)] == steps(explanation)
    assert [("cluster", NO_NORTHD)] == steps(found(sb={}))


def test_a_chassis_in_quarantine_is_no_fault_of_the_network():
    """It is named, with the way out, and the pair is blocked on purpose."""
    explanation = found(sb=published(quarantine=frozenset({"hv2"})))
    assert [("hv2", END_QUARANTINE)] == steps(explanation)
    assert ("quarantined", "hv2 is in quarantine") == (
        explanation.pairs[0].state,
        explanation.pairs[0].why,
    )


def test_an_address_of_two_chassis_is_a_finding_of_both():
    """There is no pair then."""
    explanation = found(chassis("hv1", "10.0.0.1"), chassis("hv2", "10.0.0.1"))
    assert [("hv1", ONE_ADDRESS), ("hv2", ONE_ADDRESS)] == steps(explanation)
    assert "they have no addresses of the same IP version" == explanation.reason


REMOTE, GATEWAY = {"is_remote": "true"}, {"is_interconn": "true"}


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (
            chassis("a", "10.0.0.1", zones=["x\x1b", "y"]),
            chassis("b", "10.0.0.2"),
            "their transport zones do not overlap: a is in x?, y and b is in none",
        ),
        (
            chassis("a", "10.0.0.1", other=REMOTE),
            chassis("b", "10.0.0.2", other=REMOTE),
            "both belong to another availability zone",
        ),
        (
            chassis("a", "10.0.0.1", other=REMOTE),
            chassis("b", "10.0.0.2"),
            "a is in another availability zone, and b is not a gateway to it",
        ),
        (
            chassis("a", "10.0.0.1", other=GATEWAY, zones=["x"]),
            chassis("b", "10.0.0.2", other=REMOTE),
            "their transport zones do not overlap: a is in x and b is in none",
        ),
        (
            chassis("a", "10.0.0.1"),
            chassis("b", "10.0.0.2", types=("stt",)),
            "they have no tunnel type in common that IPsec covers",
        ),
        (
            chassis("a", "10.0.0.1"),
            chassis("b", "fd00::2"),
            "they have no addresses of the same IP version",
        ),
    ],
)
def test_why_there_is_no_tunnel(one: RawChassis, other: RawChassis, reason: str):
    """In words."""
    views = cluster(one, other).chassis
    assert reason == why_none(views["a"], views["b"])


def test_json_has_everything():
    """For programs."""
    answer = as_json(found(privates={"hv1": report()}))
    assert {"mode": "require", "profile": "default"} == answer["pairs"][0]["carried"]
    assert ("hv2", "none") == (answer["chassis"][1]["chassis"], answer["chassis"][1]["agent"])
    assert (1, NO_AGENT) == (answer["exit"], answer["findings"][0]["next_step"])
    assert None is as_json(found(sb={}, ipsec=False))["pairs"][0]["carried"]
