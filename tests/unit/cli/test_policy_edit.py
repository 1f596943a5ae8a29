# SPDX-License-Identifier: Apache-2.0
"""A change of NB's rules: what it would do, what is refused, and what is only said."""

from __future__ import annotations

import pytest
from policy_world import cluster, hosts, published, report

from ovn_ipsec.cli.policy.editing import (
    OFF,
    Assessment,
    assess,
    decide_to_add,
    decide_to_delete,
    place_of,
    propose,
    to_add,
    to_delete,
    to_replace,
)
from ovn_ipsec.cli.view import Snapshot
from ovn_ipsec.model.policy import Rule
from ovn_ipsec.schema.rules import RuleError, parse_rule


def rule(text: str, priority: int = 100) -> Rule:
    return parse_rule(place_of(priority), priority, text)


def adding(made: Snapshot, text: str, priority: int = 100) -> Assessment:
    return assess(propose(made, to_add(rule(text, priority))))


def test_a_rule_that_is_added_is_compared_with_what_there_is():
    """One key is written."""
    made = cluster(*hosts(3), rules={50: "chassis:hv1 any prefer"})
    found = adding(made, "chassis:hv2 any off")
    assert {"ovn-ipsec-rule-100": "any any off"} == to_add(rule("any any off"))
    assert [("prefer", "off", 1), ("require", "off", 1)] == [
        (str(c.old.mode), str(c.new.mode), c.count) for c in found.difference.changes
    ]
    assert ((), ()) == (found.refusals, found.warnings)


@pytest.mark.parametrize(
    ("taken", "priority", "replace", "decided"),
    [
        (7, None, False, {"ovn-ipsec-rule-100": "any any off"}),
        (100, None, False, {"ovn-ipsec-rule-200": "any any off"}),
        (7, 7, True, {"ovn-ipsec-rule-7": "any any off"}),
        (7, 7, False, "priority 7 is in use; choose another, or use --replace"),
        (
            32767,
            None,
            False,
            "no multiple of 100 is left above the highest priority; choose one with --priority",
        ),
    ],
)
def test_where_a_rule_goes_depends_on_what_there_is(
    taken: int, priority: int | None, replace: bool, decided: object
) -> None:
    """Asked for a second time, when somebody has added one meanwhile, it is another place."""
    made = cluster(*hosts(2), rules={taken: "any any prefer"})
    assert decided == decide_to_add(made, text="any any off", priority=priority, replace=replace)


def test_what_is_not_there_is_not_deleted() -> None:
    """Deleting it twice is a mistake."""
    made = cluster(*hosts(2), rules={7: "any any prefer"})
    assert {"ovn-ipsec-rule-7": None} == decide_to_delete(made, priority=7)
    said = "there is no rule with priority 8; see ovn-ipsec policy list"
    assert said == decide_to_delete(made, priority=8)


def test_a_network_that_does_not_exist_is_refused_with_its_column():
    """And with what may have been meant."""
    (error,) = adding(cluster(switches=[("payments", {})]), "any network:paymnts off").refusals
    assert isinstance(error, RuleError)
    assert (13, True) == (error.column, error.reason.endswith("did you mean payments?"))


def test_a_profile_that_chassis_cannot_do_is_refused():
    """They are named; one alone is a warning, as its pairs are blocked and no others."""
    made = cluster(*hosts(2), privates={"hv1": report()})
    found = adding(made, "any any require profile=pq")
    assert () == found.refusals
    assert (
        "profile pq: the IKE daemon of hv1 cannot do it, and its pairs with it are blocked"
        in found.warnings
    )
    made = cluster(*hosts(2), privates={"hv1": report(), "hv2": report()})
    assert ("profile pq: the IKE daemon of hv1, hv2 cannot do it",) == adding(
        made, "any any require profile=pq"
    ).refusals


def test_what_is_broken_already_is_a_warning():
    """No change takes effect, but it is not this change that is at fault."""
    made = cluster(*hosts(2), rules={7: "any any of"}, switches=[("w", {"ovn-ipsec": "x"})])
    found = adding(made, "any any prefer")
    assert () == found.refusals
    assert [True, True] == [text.startswith("no change takes effect") for text in found.warnings]


def test_a_change_that_mends_what_is_broken_warns_of_nothing():
    """The bad rule is replaced, or deleted."""
    made = cluster(*hosts(2), rules={100: "any any of"}, sb=published("100 any any prefer"))
    assert () == adding(made, "any any prefer").warnings
    found = assess(propose(made, to_delete(100)))
    assert ((), 1) == (found.warnings, len(found.difference.changes))


def test_while_the_switch_is_off_that_is_said():
    """What changes then is what would be asked for."""
    assert (OFF,) == adding(cluster(*hosts(2), ipsec=False), "any any off").warnings


@pytest.mark.parametrize(("priority", "warned"), [(50, True), (150, False)])
def test_a_rule_that_can_never_decide_is_said(priority: int, warned: bool):
    """Only when the change makes it so."""
    made = cluster(*hosts(2), rules={100: "any any off", 10: "chassis:hv1 any require"})
    warnings = adding(made, "chassis:hv1 chassis:hv2 require", priority).warnings
    assert warned == ("rule 50 never applies: rule 100 matches all of its pairs" in warnings)
    assert not any("rule 10 " in text for text in warnings)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("zone:a host:b* off", ["host", "zone"]),
        ("zone:a zone:b prefer", ["zone"]),
        ("zone:a zone:a require", []),
        ("chassis:a cidr:10.0.0.0/8 off", []),
    ],
)
def test_a_rule_that_weakens_by_what_a_chassis_claims_is_said(text: str, kinds: list[str]):
    """Once for each kind of selector; not again for a rule that is there already."""
    made = cluster(*hosts(2), rules={7: "az:x any off"})
    warned = [one for one in adding(made, text).warnings if "claim" in one]
    assert kinds == [one.split("weakens pairs by ")[1].split(":")[0] for one in warned]


def test_a_file_takes_the_place_of_all_rules():
    """Of those that do not parse too; other keys stay."""
    options = {"ovn-ipsec-rule-1": "x", "ovn-ipsec-rulez": "y", "ovn-ipsec-mode": "prefer"}
    changes = to_replace(options, [rule("any any off", 300), rule("zone:a any off", 1)])
    assert {
        "ovn-ipsec-rule-1": "zone:a any off",
        "ovn-ipsec-rulez": None,
        "ovn-ipsec-rule-300": "any any off",
    } == changes
    made = propose(cluster(options=options), changes).then
    assert (False, "prefer") == (made.broken, str(made.asked.mode))


def test_all_networks_of_before_and_after_have_to_be_known():
    """Or the comparison would be wrong."""
    made = cluster(rules={1: "network:a any off"}, switches=[("a", {}), ("b", {})])
    proposal = propose(made, to_add(rule("network:b any off", 1)))
    assert {"a", "b"} == proposal.named
