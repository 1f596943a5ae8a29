# SPDX-License-Identifier: Apache-2.0
"""What `ovn-ipsec status` shows of a cluster of any size, and how problems are put together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.cli import overview
from ovn_ipsec.cli.finding import BLOCKED, CLUSTER, Finding, Level
from ovn_ipsec.cli.groups import as_many_as_fit, grouped, heading, told
from ovn_ipsec.cli.judge import ChassisLine, Standing, Status
from ovn_ipsec.cli.layout import height
from ovn_ipsec.cli.settings import Exit
from ovn_ipsec.model.policy import Phase
from ovn_ipsec.model.status import Digest, PairCounts

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)
GENERATION = str(int(NOW.timestamp() * 1000) - 3 * 3_600_000)
LONG = "ffffffff-1111-4222-8333-444444444444"


def line(
    name: str, standing: Standing = Standing.READY, *, days: int = 200, **counts: int
) -> ChassisLine:
    digest = Digest(
        generation=7,
        phase=Phase.ENFORCE,
        counts=PairCounts(**counts),
        agent="ovn-ipsec-controller 1.0 strongSwan 5.9.8",
        expires=NOW + timedelta(days=days),
    )
    return ChassisLine(name=name, digest=digest, standing=standing)


def status(
    *lines: ChassisLine,
    findings: tuple[Finding, ...] = (),
    state: str = "enforced",
    generation: str = GENERATION,
    code: Exit = Exit.WELL,
) -> Status:
    return Status(
        state=state,
        generation=generation,
        summary="",
        error="",
        chassis=lines,
        findings=findings,
        exit=code,
    )


def problem(name: str, text: str = "no controller", **more) -> Finding:
    return Finding(subject=name, problem=text, next_step=more.pop("step", "start it"), **more)


def shown(seen: Status, width: int | None = 80, lines: int = 23) -> list[str]:
    return [one.text for one in overview.first_screen(seen, NOW, width, lines)]


def test_a_small_cluster_is_listed():
    """With its counts before, and no problems after."""
    seen = status(line("hv1", encrypted=2), line("hv2", encrypted=1, clear=1), line("hv10", days=3))
    assert shown(seen) == [
        "enforced",
        f"generation    {GENERATION}, made 3 h ago",
        "chassis       3: 3 ready",
        "pairs         3 of 3 encrypted (counted at both ends), 1 clear",
        "certificates  the first ends 2027-01-04, in 3 days: hv10",
        "",
        "chassis  state  pairs                 certificate ends  controller",
        "hv1      ready  2 encrypted           2027-07-20        1.0 strongSwan 5.9.8",
        "hv2      ready  1 clear, 1 encrypted  2027-07-20        1.0 strongSwan 5.9.8",
        "hv10     ready  0 pairs               2027-01-04        1.0 strongSwan 5.9.8",
    ]


def test_a_large_cluster_is_counted():
    """The same screen whatever its size; what is said of many is said once."""
    lines = [line(f"hv{n}", encrypted=1) for n in range(999)]
    lines += [ChassisLine(name="hv999", digest=None, standing=Standing.ABSENT)]
    findings = [problem(f"hv{n}", "1 pair blocked", kind=BLOCKED, step="peers") for n in range(999)]
    findings += [problem("hv999")]
    seen = status(*lines, findings=tuple(findings), code=Exit.DEGRADED)
    assert shown(seen) == [
        "enforced, but not all is well",
        f"generation    {GENERATION}, made 3 h ago",
        "chassis       1000: 999 ready, 1 without a controller",
        "pairs         999 of 999 encrypted (counted at both ends)",
        "certificates  the first ends 2027-07-20, in 200 days: hv0, hv1, hv2 and 996 more",
        "",
        "2 problems on 1000 chassis",
        "hv999: no controller",
        "    next: start it",
        "999 chassis: pairs blocked",
        "    hv0, hv1, hv2, hv3, hv4, hv5, hv6, hv7, hv8, hv9, hv10, hv11 and 987 more",
        "    next: peers",
        "in full: ovn-ipsec status --problems",
    ]


def test_what_is_off_says_who_could():
    """A controller is not asked for anything."""
    absent = ChassisLine(name="hv2", digest=None, standing=Standing.NOT_NEEDED)
    seen = status(line("hv1"), absent, state="off", generation="0")
    assert shown(seen)[:3] == [
        "off",
        "chassis       2: 1 with a controller, 1 without a controller",
        "pairs         none to be encrypted",
    ]
    assert shown(status(state="off", generation="")) == ["off", "chassis       none"]


@pytest.mark.parametrize("generation", ["junk", "7", str(int(GENERATION) + 9 * 10**10), "9" * 15])
def test_a_generation_that_is_no_time_is_a_number(generation: str):
    """Not every one was made of the clock, and clocks can be wrong."""
    assert f"generation    {generation}" in shown(status(generation=generation))


def test_a_certificate_that_has_ended_is_told_as_such():
    """Also one whose chassis names none."""
    bare = Digest(generation=7, phase=Phase.ENFORCE, agent="x")
    none = ChassisLine(name="hv3", digest=bare)
    seen = status(none, line("hv1", days=-2))
    assert "certificates  the first has ended 2026-12-30, 2 days ago: hv1" in shown(seen)
    assert not [text for text in shown(status(none)) if text.startswith("certificates")]


def test_names_that_leave_no_room_for_a_table_are_not_listed_on_the_first_screen():
    """The table is told row by row where it is asked for."""
    seen = status(*(line(f"{n}-{LONG}", encrypted=1) for n in range(9)))
    assert shown(seen)[-1] == overview.SEE_EACH
    assert len(shown(seen)) == 7
    asked = [one.text for one in overview.of_chassis(seen, NOW, 80)]
    assert asked[:3] == [
        f"0-{LONG}",
        "  state ready, pairs 1 encrypted, certificate ends 2027-07-20,",
        "  controller 1.0 strongSwan 5.9.8",
    ]
    assert asked[-1] == "no problems"


def test_all_problems_are_shown_with_all_names():
    """Whatever the screen."""
    names = [f"hv{n}" for n in range(100)]
    seen = status(*map(line, names), findings=tuple(map(problem, names)), code=Exit.DEGRADED)
    lines = [one.text for one in overview.problems(seen, NOW, 80)]
    assert set(names) <= {word.rstrip(",") for text in lines for word in text.split()}
    assert "100 chassis: no controller" in lines
    assert all(len(text) <= 80 for text in lines)


def test_some_chassis_are_judged_by_themselves():
    """The problems of others and of the cluster are not theirs."""
    findings = (problem("hv1"), problem("hv2", "soon", level=Level.WARNING), problem(CLUSTER, "x"))
    seen = status(line("hv1"), line("hv2"), findings=findings, code=Exit.DEGRADED)
    found = [overview.chosen(seen, glob) for glob in ("hv*", "hv1", "hv2", "HV2")]
    assert [len(one.chassis) for one in found] == [2, 1, 1, 0]
    assert [len(one.findings) for one in found] == [2, 1, 1, 0]
    codes = [Exit.DEGRADED, Exit.DEGRADED, Exit.WELL, Exit.CANNOT_TELL]
    assert [one.exit for one in found] == codes
    lost = overview.chosen(status(line("hv1"), code=Exit.CANNOT_TELL), "hv1")
    assert lost.exit is Exit.CANNOT_TELL


def test_problems_that_differ_in_numbers_are_one():
    """Of the cluster each is told by itself, and so is what is met on one chassis only."""
    groups = grouped(
        [
            problem("hv2", "still at generation 6"),
            problem("hv10", "still at generation 5"),
            problem("hv3", "expires at 2027", level=Level.WARNING),
            problem("hv3", "expires at 2028", level=Level.WARNING),
            problem(CLUSTER, "key 1"),
            problem(CLUSTER, "key 2"),
            problem("hv4", "now", level=Level.URGENT),
        ]
    )
    assert [(group.subjects, group.problem) for group in groups] == [
        ((CLUSTER,), "key 1"),
        ((CLUSTER,), "key 2"),
        (("hv2", "hv10"), "still at generation ..."),
        (("hv4",), "now"),
        (("hv3",), "expires at 2027"),
        (("hv3",), "expires at 2028"),
    ]
    assert heading(groups) == "3 problems on 2 chassis, 3 warnings"
    assert heading(groups[:2]) == "2 problems"
    assert heading(groups[3:4]) == "1 warning"


def test_of_what_does_not_fit_the_number_is_told():
    """The first is shown in any case, cut to a few lines."""
    groups = grouped(
        [problem("hv1", "word " * 80), problem("hv2", "other"), problem("hv3", "last")]
    )
    assert [one.text for one in as_many_as_fit(groups, 80, 5, "all")][-1] == "and 1 more: all"
    few = [one.text for one in as_many_as_fit(groups, 80, 1, "all")]
    assert few[-1] == "and 2 more: all"
    assert [one.text for one in told(groups[:2], None)] == [
        "hv3: last",
        "hv2: other",
        "    next: start it",
    ]
    whole = [one.text for one in as_many_as_fit(groups, 80, 40, "all")]
    assert "all" not in whole[-1]


FINDINGS = st.builds(
    problem,
    st.sampled_from([CLUSTER, "hv1", "hv2", LONG, "x" * 200]),
    st.text(alphabet="ab 1", min_size=1, max_size=400),
    step=st.text(alphabet="ab ", min_size=1, max_size=250),
    level=st.sampled_from(Level),
)


@given(
    st.lists(FINDINGS, max_size=30),
    st.lists(st.builds(line, st.sampled_from(["hv1", LONG, "x" * 200]), st.sampled_from(Standing))),
)
def test_the_first_screen_fits(findings: list[Finding], lines: list[ChassisLine]):
    """80 by 24 with a prompt, whatever is said."""
    seen = status(*lines, findings=tuple(findings), code=Exit.DEGRADED)
    assert height(overview.first_screen(seen, NOW, 80, 23), 80) <= 23
