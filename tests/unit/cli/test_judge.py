# SPDX-License-Identifier: Apache-2.0
"""What `ovn-ipsec status` makes of the rows of both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ovn_ipsec.cli.judge import (
    NO_AGENT,
    NO_NORTHD,
    RENEW,
    RENEW_SOON,
    SEE_LOG,
    SEE_PEERS,
    Level,
    judge,
)
from ovn_ipsec.cli.settings import Exit
from ovn_ipsec.cli.status import as_json, words
from ovn_ipsec.model.policy import Phase
from ovn_ipsec.model.status import Digest, PairCounts
from ovn_ipsec.schema.report import format_digest

NOW = datetime(2027, 1, 1, tzinfo=UTC)


def digest(**changes) -> dict[str, str]:
    values = {
        "generation": 7,
        "phase": Phase.ENFORCE,
        "counts": PairCounts(encrypted=2),
        "agent": "ovn-ipsec-controller",
        "expires": NOW + timedelta(days=200),
    }
    return format_digest(Digest(**(values | changes)))


def nb(state: str = "enforced", **more: str) -> dict[str, str]:
    return {"ovn-ipsec-state": state, "ovn-ipsec-generation": "7"} | more


def test_an_enforced_cluster_without_problems_is_well():
    """Nothing to do, exit 0."""
    status = judge(nb(), True, {"hv1": digest(), "hv2": digest()}, NOW)
    assert (Exit.WELL, ()) == (status.exit, status.findings)


def test_a_cluster_that_was_never_switched_on_is_off_and_well():
    """No key of ours anywhere, and no chassis is blamed for it."""
    status = judge({}, False, {"hv1": {}}, NOW)
    assert ("off", Exit.WELL, ()) == (status.state, status.exit, status.findings)


def test_a_switch_that_nobody_answers_cannot_be_judged():
    """Without a northd there is no state to trust."""
    status = judge({}, True, {}, NOW)
    assert (Exit.CANNOT_TELL, NO_NORTHD) == (status.exit, status.findings[0].next_step)


@pytest.mark.parametrize("state", ["preparing", "establishing", "relaxing", "enforced (degraded)"])
def test_a_cluster_on_its_way_or_degraded_is_not_well(state: str):
    """Exit 1 even where no single chassis is to blame."""
    assert Exit.DEGRADED == judge(nb(state), True, {"hv1": digest()}, NOW).exit


@pytest.mark.parametrize(
    ("ids", "problem", "step"),
    [
        ({}, "no controller", NO_AGENT),
        (digest(problem="vici: refused"), "vici: refused", SEE_LOG),
        (digest(generation=6), "still at generation 6", SEE_LOG),
        (digest(counts=PairCounts(blocked=3)), "3 pairs blocked", SEE_PEERS),
        (digest(expires=NOW), "certificate has expired 2027-01-01 00:00 UTC", RENEW),
    ],
)
def test_each_problem_of_a_chassis_has_a_next_step(ids: dict[str, str], problem: str, step: str):
    """The chassis is named, and exit is 1."""
    status = judge(nb(), True, {"hv1": ids}, NOW)
    found = [(f.subject, f.problem, f.next_step) for f in status.findings]
    assert ([("hv1", problem, step)], Exit.DEGRADED) == (found, status.exit)


@pytest.mark.parametrize(("days", "level"), [(29, Level.WARNING), (6, Level.URGENT)])
def test_what_will_be_a_problem_is_said_and_is_none(days: int, level: Level):
    """A chassis that warns is named, with what to do, and all is well."""
    ids = digest(warning="the certificate expires", expires=NOW + timedelta(days=days))
    status = judge(nb(), True, {"hv1": ids, "hv2": digest(expires=NOW + timedelta(days=1))}, NOW)
    (found,) = status.findings
    assert (found.subject, found.problem) == ("hv1", "the certificate expires")
    assert (found.next_step, found.level, status.exit) == (RENEW_SOON, level, Exit.WELL)
    assert [one["level"] for one in as_json(status)["findings"]] == [level.value]


def test_what_a_chassis_warned_of_has_happened():
    """It may not have been able to say so."""
    ids = digest(warning="the certificate expires", expires=NOW - timedelta(days=1))
    status = judge(nb(), True, {"hv1": ids}, NOW)
    assert [f.problem for f in status.findings] == ["certificate has expired 2026-12-31 00:00 UTC"]
    assert status.exit is Exit.DEGRADED


def test_a_junk_report_costs_only_its_chassis():
    """The others are still shown, and the refusal names row and key."""
    status = judge(nb(), True, {"hv1": digest() | {"ovn-ipsec-phase": "x"}, "hv2": digest()}, NOW)
    assert [None, "enforce"] == [line.digest and line.digest.phase for line in status.chassis]
    assert "hv1 ovn-ipsec-phase='x'" in status.findings[0].problem


def test_an_error_in_the_northbound_is_a_problem_of_the_cluster():
    """It is shown as it stands there."""
    status = judge(nb(**{"ovn-ipsec-error": "NB_Global . ipsec_x"}), True, {"hv1": digest()}, NOW)
    assert [("cluster", "NB_Global . ipsec_x")] == [(f.subject, f.problem) for f in status.findings]


def test_escape_sequences_of_a_chassis_do_not_reach_the_screen():
    """What a chassis writes is hostile."""
    ids = digest() | {"ovn-ipsec-problem": "\x1b[2Jgone"}
    assert "?[2Jgone" == judge(nb(), True, {"hv1": ids}, NOW).findings[0].problem


def test_a_line_of_the_table_leaves_out_empty_states():
    """Two encrypted pairs are one word."""
    line = judge(nb(), True, {"hv1": digest()}, NOW).chassis[0]
    row = ("hv1", "ovn-ipsec-controller", "enforce", "7", "encrypted 2", "", "2027-07-20")
    assert row == words(line)


def test_a_chassis_without_a_controller_is_a_line_too():
    """It says none."""
    status = judge(nb(), True, {"hv1": {}}, NOW)
    assert ("hv1", "none") == words(status.chassis[0])[:2]
    assert {"chassis": "hv1", "agent": None} == as_json(status)["chassis"][0]


def test_json_names_pairs_by_state():
    """Programs read numbers, not words."""
    chassis = as_json(judge(nb(), True, {"hv1": digest()}, NOW))["chassis"][0]
    assert (2, 0) == (chassis["pairs"]["encrypted"], chassis["pairs"]["blocked"])
