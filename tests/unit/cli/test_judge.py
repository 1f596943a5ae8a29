# SPDX-License-Identifier: Apache-2.0
"""What `ovn-ipsec status` makes of the rows of both databases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ovn_ipsec.cli import judge as judgement
from ovn_ipsec.cli.finding import Level
from ovn_ipsec.cli.judge import (
    NO_AGENT,
    NO_NORTHD,
    RENEW,
    RENEW_SOON,
    SEE_LOG,
    SEE_NORTHD,
    SEE_PEERS,
    WHICH_NORTHBOUND,
    Standing,
    Status,
)
from ovn_ipsec.cli.overview import headline
from ovn_ipsec.cli.rows import FIX_ROW, NO_ROW, ONE_ADDRESS, SAME_KIND, SHOWN
from ovn_ipsec.cli.settings import Exit
from ovn_ipsec.cli.status import as_json, words
from ovn_ipsec.cli.unmanaged import absent
from ovn_ipsec.cli.view import RawSouthbound
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import ClassName, ClusterPolicy, Mode, Phase, Treatment, class_pair
from ovn_ipsec.model.status import Digest, PairCounts
from ovn_ipsec.schema.encap import CLASS, RawChassis
from ovn_ipsec.schema.report import format_digest
from tests.unit.cli.policy_world import chassis, cluster, hosts, published

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


def judge(
    external_ids: Mapping[str, str],
    enabled: bool,
    privates: Mapping[str, Mapping[str, str]],
    now: datetime,
    *,
    rows: Iterable[RawChassis] | None = None,
    sb: Mapping[str, str] | None = None,
) -> Status:
    """Each report has its Chassis row, unless other rows are given."""
    names = {f"hv{n}" for n in range(1, 9)} & privates.keys()
    made = [raw for raw in hosts(8) if raw.name in names] if rows is None else rows
    if sb is None:
        sb = published() if enabled else {}
    raw = RawSouthbound(external_ids=sb, chassis=tuple(made), privates=privates)
    return judgement.judge(external_ids, enabled, raw, now)


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
        (digest(phase=Phase.ESTABLISH), "still in phase establish", SEE_LOG),
        (digest(generation=8), "at generation 8, newer than the one in force", SEE_LOG),
        (digest(counts=PairCounts(blocked=3)), "3 pairs blocked", SEE_PEERS),
        (digest(counts=PairCounts(blocked=1)), "1 pair blocked", SEE_PEERS),
        (digest(counts=PairCounts(pending=1)), "1 pair pending", SEE_PEERS),
        (
            digest(counts=PairCounts(blocked=3), across=PairCounts(blocked=2)),
            "3 pairs blocked, 2 with other availability zones",
            SEE_PEERS,
        ),
        (digest(expires=NOW), "certificate expired just now (2027-01-01 00:00 UTC)", RENEW),
    ],
)
def test_each_problem_of_a_chassis_has_a_next_step(ids: dict[str, str], problem: str, step: str):
    """The chassis is named, and exit is 1."""
    status = judge(nb(), True, {"hv1": ids, "hv2": digest()}, NOW)
    found = [(f.subject, f.problem, f.next_step) for f in status.findings]
    assert ([("hv1", problem, step)], Exit.DEGRADED) == (found, status.exit)


def standings(status: Status) -> dict[str, Standing]:
    return {line.name: line.standing for line in status.chassis}


def test_a_chassis_that_no_rule_asks_for_needs_no_controller():
    """It is clear by policy, so nothing of the cluster is missing."""
    rows = [replace_class(raw, "c2" if raw.name == "hv3" else "c1") for raw in hosts(3)]
    pairs = {class_pair(ClassName("c1"), ClassName("c1")): Treatment(mode=Mode.REQUIRE)}
    sb = published(default=Mode.OFF, pairs=pairs)
    reports = {"hv1": digest(), "hv2": digest(), "hv3": {}}
    status = judge(nb(), True, reports, NOW, rows=rows, sb=sb)
    assert (Exit.WELL, ()) == (status.exit, status.findings)
    assert standings(status)["hv3"] is Standing.NOT_NEEDED
    missing = judge(nb(), True, reports | {"hv2": {}}, NOW, rows=rows, sb=sb)
    assert [("hv2", "no controller", NO_AGENT)] == about_rows(missing)
    assert standings(missing)["hv2"] is Standing.ABSENT


def replace_class(raw: RawChassis, name: str) -> RawChassis:
    encaps = tuple(replace(encap, options={CLASS: name}) for encap in raw.encaps)
    return replace(raw, encaps=encaps)


def test_a_chassis_that_nobody_has_tunnels_to_needs_no_controller():
    """It is the only one with encaps of its type, or has none."""
    rows = (*hosts(2), chassis("hv3", "10.0.0.3", types=("stt",)))
    reports = {"hv1": digest(), "hv2": digest(), "hv3": {}}
    status = judge(nb(), True, reports, NOW, rows=rows)
    assert "no controller" not in [f.problem for f in status.findings]


@pytest.mark.parametrize("phase", [Phase.RELAX, Phase.OFF])
def test_nobody_is_missed_while_encryption_ends(phase: Phase):
    """What is given up needs no controller."""
    reports = {"hv1": digest(phase=phase), "hv2": {}}
    status = judge(nb("relaxing"), False, reports, NOW, sb=published(phase=phase))
    assert () == tuple(f for f in status.findings if f.subject == "hv2")


@pytest.mark.parametrize("ids", [{}, {"ovn-ipsec-agent": "x"}, digest(problem="broken")])
def test_a_chassis_in_quarantine_counts_for_nothing(ids: dict[str, str]):
    """Whatever it says or lacks: nobody talks to it."""
    sb = published(quarantine=frozenset({ChassisName("hv2")}))
    status = judge(nb(), True, {"hv1": digest(), "hv2": ids}, NOW, sb=sb)
    assert (Exit.WELL, ()) == (status.exit, status.findings)
    assert standings(status) == {"hv1": Standing.READY, "hv2": Standing.QUARANTINED}


def test_what_a_controller_follows_is_told_by_the_northbound_where_the_southbound_cannot():
    """Its policy is gone, or does not parse."""
    status = judge(nb(), True, {"hv1": digest(generation=6)}, NOW, sb={})
    assert "still at generation 6" in [f.problem for f in status.findings]
    status = judge(nb(), True, {"hv1": digest()}, NOW, sb={})
    assert standings(status) == {"hv1": Standing.READY}


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
    assert [f.problem for f in status.findings] == [
        "certificate expired 1 day ago (2026-12-31 00:00 UTC)"
    ]
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
    told = {"chassis": "hv1", "standing": "not needed", "agent": None}
    assert told == as_json(status)["chassis"][0]


def test_json_names_pairs_by_state():
    """Programs read numbers, not words."""
    chassis = as_json(judge(nb(), True, {"hv1": digest()}, NOW))["chassis"][0]
    assert (2, 0) == (chassis["pairs"]["encrypted"], chassis["pairs"]["blocked"])


@pytest.mark.parametrize(
    ("summary", "problem"), [("hv9 is silent", "hv9 is silent"), ("", "something that should hold")]
)
def test_a_degraded_cluster_says_why_and_what_to_do(summary: str, problem: str):
    """Also where no chassis has a problem of its own."""
    status = judge(nb("enforced (degraded)") | {"ovn-ipsec-summary": summary}, True, {}, NOW)
    (found,) = status.findings
    assert found.problem.startswith(problem)
    assert (found.subject, found.next_step) == ("cluster", SEE_NORTHD)
    assert (status.exit, headline(status).text) == (Exit.DEGRADED, "enforced (degraded)")
    blamed = judge(nb("enforced (degraded)"), True, {"hv1": digest(problem="x")}, NOW)
    assert ["hv1"] == [f.subject for f in blamed.findings]


def test_a_state_beside_an_error_does_not_sound_well():
    """NB says enforced, and something is wrong all the same."""
    wrong = judge(nb(**{"ovn-ipsec-error": "no"}), True, {"hv1": digest()}, NOW)
    assert (Exit.DEGRADED, "enforced, but not all is well") == (wrong.exit, headline(wrong).text)
    assert headline(judge(nb(), True, {"hv1": digest()}, NOW)).text == "enforced"
    assert as_json(wrong)["state"] == "enforced"


def about_rows(status: Status) -> list[tuple[str, str, str]]:
    assert Exit.DEGRADED == status.exit
    return [(f.subject, f.problem, f.next_step) for f in status.findings]


def test_a_report_without_a_chassis_row_is_not_well():
    """It has no pairs, so none is missing; the row may be kept away by another's address."""
    status = judge(nb(), True, {"hv1": digest(), "hv2": digest()}, NOW, rows=hosts(1))
    assert [("hv2", "no Chassis row", NO_ROW)] == about_rows(status)


def test_a_chassis_without_any_report_is_not_well():
    """It is a line of the table although nobody speaks for it; not so one of another zone."""
    rows = (*hosts(2), chassis("far", "10.0.0.9", other={"is_remote": "true"}))
    status = judge(nb(), True, {"hv1": digest()}, NOW, rows=rows)
    assert [("hv2", "no controller", NO_AGENT)] == about_rows(status)
    assert ["hv1", "hv2"] == [line.name for line in status.chassis]


@pytest.mark.parametrize(
    ("gateway", "types", "default", "expected"),
    [
        ("true", ("geneve",), Mode.REQUIRE, frozenset({"gw"})),
        ("false", ("geneve",), Mode.REQUIRE, frozenset()),
        ("true", ("vxlan",), Mode.REQUIRE, frozenset()),
        ("true", ("geneve",), Mode.PREFER, frozenset()),
    ],
)
def test_a_gateway_to_another_zone_needs_a_controller(
    gateway: str, types: tuple[str, ...], default: Mode, expected: frozenset[str]
):
    """Even as the only chassis of its zone, unless the default asks less than some rule."""
    rows = (
        chassis("gw", "10.0.0.1", types=types, other={"is_interconn": gateway}),
        chassis("far", "10.0.0.9", other={"is_remote": "true"}),
    )
    views = cluster(*rows).chassis
    rule = {class_pair(ClassName("a"), ClassName("b")): Treatment(mode=Mode.REQUIRE)}
    policy = ClusterPolicy(
        generation=7, phase=Phase.ESTABLISH, default=default, floor=Mode.OFF, pairs=rule
    )
    assert expected == absent(policy, views)


@pytest.mark.parametrize(
    ("rule", "default", "expected"),
    [
        ("any remote:host:x off", Mode.REQUIRE, frozenset()),
        ("any remote:host:y off", Mode.REQUIRE, frozenset({"gw"})),
        ("chassis:gw remote:any require", Mode.PREFER, frozenset({"gw"})),
        ("chassis:hv1 remote:any require", Mode.PREFER, frozenset()),
    ],
)
def test_rules_across_zones_say_which_gateway_needs_a_controller(
    rule: str, default: Mode, expected: frozenset[str]
):
    """As northd counts them."""
    rows = (
        chassis("gw", "10.0.0.1", other={"is_interconn": "true"}),
        chassis("far", "10.0.0.9", hostname="x", other={"is_remote": "true"}),
    )
    policy = ClusterPolicy(
        generation=7,
        phase=Phase.ESTABLISH,
        default=default,
        floor=Mode.OFF,
        rules=(f"100 {rule}",),
    )
    assert expected == absent(policy, cluster(*rows).chassis)


def test_an_address_in_rows_of_two_chassis_is_not_well():
    """Under whatever tunnel type: the index of the table is by type and address."""
    rows = (*hosts(1), chassis("rogue", "10.0.0.1", types=("vxlan",)))
    both = {"hv1": digest(), "rogue": digest()}
    found = about_rows(judge(nb(), True, both, NOW, rows=rows))
    assert found[:2] == [
        ("hv1", "rogue claims 10.0.0.1 too", ONE_ADDRESS),
        ("rogue", "hv1 claims 10.0.0.1 too", ONE_ADDRESS),
    ]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (chassis("hv9", "fd00::9"), "hv9 (geneve IPv6)"),
        (chassis("hv9", "10.0.0.9", types=("vxlan",)), "hv9 (vxlan IPv4)"),
        (chassis("hv9", "10.0.0.9", types=("stt",)), "hv9 (no encap that IPsec covers)"),
    ],
)
def test_addresses_that_do_not_meet_are_not_well(other: RawChassis, said: str):
    """Neither end misses a pair there."""
    reports = {"hv1": digest(), "hv2": digest(), "hv9": digest()}
    found = about_rows(judge(nb(), True, reports, NOW, rows=(*hosts(2), other)))
    problem = f"no tunnel is possible between hv1 and 1 more (geneve IPv4) and {said}"
    assert [("hv1", problem, SAME_KIND)] == found


def test_chassis_without_any_usable_encap_meet_nobody():
    """Nor each other; one that is alone has nobody to meet."""
    rows = [chassis(name, "10.0.0.1", types=("stt",)) for name in ("hv1", "hv2")]
    reports = {"hv1": digest(), "hv2": digest()}
    problem = "no tunnel is possible among hv1 and 1 more (no encap that IPsec covers)"
    assert [("hv1", problem, SAME_KIND)] == about_rows(judge(nb(), True, reports, NOW, rows=rows))
    alone = judge(nb(), True, {"hv1": digest()}, NOW, rows=rows[:1])
    assert (Exit.WELL, ()) == (alone.exit, alone.findings)


def test_only_those_that_are_to_have_tunnels_are_named():
    """By their transport zones, on either side."""
    rows = (
        chassis("hv1", "10.0.0.1", zones=["a"]),
        chassis("hv2", "10.0.0.2", zones=["b"]),
        chassis("hv3", "fd00::3", zones=["a"]),
        chassis("hv4", "fd00::4", zones=["c"]),
    )
    reports = {raw.name: digest() for raw in rows}
    problem = "no tunnel is possible between hv1 (geneve IPv4) and hv3 (geneve IPv6)"
    assert [("hv1", problem, SAME_KIND)] == about_rows(judge(nb(), True, reports, NOW, rows=rows))


def test_addresses_that_need_not_meet_are_well():
    """OVN makes no tunnel between other transport zones, or to another availability zone."""
    rows = (
        *hosts(1),
        chassis("hv8", "fd00::8", zones=["z"]),
        chassis("far", "fd00::9", other={"is_remote": "true"}),
    )
    status = judge(nb(), True, {"hv1": digest(), "hv8": digest()}, NOW, rows=rows)
    assert (Exit.WELL, ()) == (status.exit, status.findings)


def test_rows_that_are_refused_are_told_up_to_a_number():
    """One hand may write many."""
    junk = tuple(chassis(f"bad{n}", "nonsense") for n in range(SHOWN + 2))
    found = about_rows(judge(nb(), True, {}, NOW, rows=junk))
    rows = [one for one in found if one[2] == FIX_ROW]
    assert len(rows) == SHOWN + 1
    assert rows[0][1] == "Encap bad0/nonsense ip='nonsense': expected an IPv4 or IPv6 address"
    assert rows[-1] == ("cluster", "and 2 more of these", FIX_ROW)


def test_a_chassis_row_that_is_refused_has_a_row():
    """What is wrong with it is said once."""
    status = judge(nb(), True, {"h v": digest()}, NOW, rows=(chassis("h v", "10.0.0.1"),))
    assert [FIX_ROW] == [step for _, _, step in about_rows(status)]


@pytest.mark.parametrize("state", ["", "off"])
def test_a_northbound_that_says_off_beside_a_policy_in_force_is_not_well(state: str):
    """It may be empty, restored, or that of another cluster."""
    asked = {} if not state else nb(state)
    status = judge(asked, False, {"hv1": digest()}, NOW, sb=published())
    problem = "the northbound says that encryption is off, but generation 7 is in force (enforce)"
    assert [("cluster", problem, WHICH_NORTHBOUND)] == about_rows(status)
    assert "but not all is well" in headline(status).text
    over = judge(asked, False, {"hv1": digest()}, NOW, sb=published(phase=Phase.OFF))
    assert (Exit.WELL, ()) == (over.exit, over.findings)


def test_a_southbound_without_policy_beside_a_northbound_with_a_state_is_not_well():
    """It was emptied, or is another."""
    status = judge(nb(), True, {"hv1": digest()}, NOW, sb={})
    problem = "the northbound says enforced, but the southbound has no policy"
    assert [("cluster", problem, SEE_NORTHD)] == about_rows(status)


def test_a_policy_that_does_not_parse_is_not_well():
    """Nobody knows what is in force."""
    status = judge(
        nb(), True, {"hv1": digest()}, NOW, sb=published() | {"ovn-ipsec-generation": "x"}
    )
    ((subject, problem, step),) = about_rows(status)
    assert (subject, step) == ("cluster", SEE_NORTHD)
    assert "ovn-ipsec-generation" in problem
