# SPDX-License-Identifier: Apache-2.0
"""What is well with an authority, what is not, and what to do next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.index import AuthorityEntry, Entry, Index, Origin, Role
from ovn_ipsec.pki.report import State, judge, remaining, state_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def authority(number: int = 1, role: Role = Role.SIGNING, left: timedelta = 900 * DAY) -> Any:
    return AuthorityEntry(number=number, role=role, name="CA", not_after=NOW + left)


def entry(left: timedelta, life: timedelta = 365 * DAY, **changes: Any) -> Entry:
    made = Entry(
        chassis=ChassisName("hv1"),
        serial=1,
        authority=1,
        origin=Origin.ISSUE,
        key_id="0" * 64,
        not_before=NOW + left - life,
        not_after=NOW + left,
    )
    return replace(made, **changes)


def ledger(*entries: Entry, **changes: Any) -> Index:
    made = Index(authorities=(authority(),), certificates=entries, crl_until=NOW + 30 * DAY)
    return replace(made, **changes)


def problems(index: Index, *stale: str) -> list[str]:
    return [f"{one.subject}: {one.problem}" for one in judge(index, stale, NOW).troubles]


@pytest.mark.parametrize(
    ("left", "life", "state"),
    [
        (30 * DAY, 365 * DAY, State.VALID),
        (30 * DAY - HOUR, 365 * DAY, State.EXPIRING),
        (7 * DAY, 365 * DAY, State.EXPIRING),
        (7 * DAY - HOUR, 365 * DAY, State.URGENT),
        (HOUR, 365 * DAY, State.URGENT),
        (timedelta(0), 365 * DAY, State.EXPIRED),
        (-DAY, 365 * DAY, State.EXPIRED),
        (20 * DAY, 20 * DAY, State.VALID),
        (3 * HOUR, 24 * HOUR, State.VALID),
        (2 * HOUR, 24 * HOUR, State.EXPIRING),
        (HOUR / 2, 24 * HOUR, State.URGENT),
    ],
)
def test_when_a_certificate_warns(left: timedelta, life: timedelta, state: State):
    """At 30 and at 7 days; a short life at its last tenth, when it should have been renewed."""
    assert state is state_of(entry(left, life), NOW)


def test_a_revoked_certificate_is_nobodys_trouble():
    """Not even when it has expired."""
    for left in (90 * DAY, -DAY):
        index = ledger(entry(left, revoked=NOW))
        assert State.REVOKED is judge(index, (), NOW).lines[0].state
        assert [] == problems(index)


@pytest.mark.parametrize(
    ("left", "origin", "problem", "step"),
    [
        (DAY, Origin.ISSUE, "certificate expires 2030-01-02 00:00", "ovn-ipsec pki renew hv1"),
        (
            DAY,
            Origin.SIGN,
            "certificate expires",
            "let it send a new request, or: ovn-ipsec pki renew --s",
        ),
        (-DAY, Origin.ISSUE, "certificate expired 2029-12-31", "ovn-ipsec pki renew hv1; or, if"),
    ],
)
def test_a_certificate_that_ends_is_trouble(
    left: timedelta, origin: Origin, problem: str, step: str
):
    """With what to do about it."""
    (found,) = judge(ledger(entry(left, origin=origin)), (), NOW).troubles
    assert found.problem.startswith(problem)
    assert found.next_step.startswith(step)


def test_only_the_newest_certificate_of_a_chassis_counts():
    """And chassis are sorted."""
    other = entry(90 * DAY, chassis=ChassisName("hv0"), serial=3)
    report = judge(ledger(entry(-DAY), entry(90 * DAY, serial=2), other), (), NOW)
    assert [("hv0", 3), ("hv1", 2)] == [(x.entry.chassis, x.entry.serial) for x in report.lines]
    assert () == report.troubles


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (180 * DAY, []),
        (179 * DAY, ["CA G1: the authority expires in 179 days; no certificate outlives it"]),
        (-DAY, ["CA G1: the authority has expired; no certificate outlives it"]),
    ],
)
def test_an_authority_that_ends_is_trouble(left: timedelta, expected: list[str]):
    """In time for a rollover; once that has started it is no news."""
    assert expected == problems(ledger(authorities=(authority(left=left),)))
    coming = authority(2, Role.NEXT)
    assert [] == problems(ledger(authorities=(authority(left=left), coming)))


def test_a_list_that_ends_is_trouble_if_it_says_anything():
    """An empty one keeps nobody out."""
    soon = {"crl_until": NOW + 7 * DAY - HOUR}
    assert [] == problems(ledger(entry(90 * DAY), **soon))
    (found,) = problems(ledger(entry(90 * DAY, revoked=NOW), **soon))
    assert found.startswith("crl.pem: the list of revoked certificates is valid until 2030-01-07")


def test_a_file_that_does_not_follow_from_the_books_is_trouble():
    """Each by its name."""
    said = "does not match the index: the last change was interrupted"
    assert problems(ledger(), "ca.pem", "crl.pem") == [f"ca.pem: {said}", f"crl.pem: {said}"]


def test_how_far_a_rollover_is():
    """And what comes next."""
    new, old = authority(2, Role.NEXT), authority(1, Role.OLD)
    assert "none" == judge(ledger(), (), NOW).rollover.stage
    started = judge(ledger(authorities=(authority(), new)), (), NOW).rollover
    assert ("started", True) == (started.stage, "rollover switch" in started.next_step)
    switched = ledger(entry(90 * DAY), authorities=(old, authority(2)))
    found = judge(switched, (), NOW).rollover
    assert ("switched", ("hv1",)) == (found.stage, found.laggards)
    assert "pki renew" in found.next_step
    done = replace(switched, certificates=(entry(90 * DAY, authority=2),))
    assert "rollover finish" in judge(done, (), NOW).rollover.next_step


@pytest.mark.parametrize(
    ("left", "text"),
    [(90 * DAY, "90"), (2 * DAY, "2"), (47 * HOUR, "47h"), (HOUR / 2, "0h"), (-3 * DAY, "-3")],
)
def test_what_is_left_is_days_and_then_hours(left: timedelta, text: str):
    """Below zero it is how long ago."""
    assert text == remaining(left)
