# SPDX-License-Identifier: Apache-2.0
"""Numbers, times and names as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.cli.wording import ago, day, duration, first_names, natural, of_chassis, plural

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (plural(0, "pair"), "0 pairs"),
        (plural(1, "pair"), "1 pair"),
        (plural(2, "pair"), "2 pairs"),
        (plural(2, "query", "queries"), "2 queries"),
        (of_chassis(1), "1 chassis"),
        (of_chassis(2), "2 chassis"),
    ],
)
def test_one_is_not_many(found: str, expected: str):
    """Also where a word has no plural of its own."""
    assert expected == found


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (3659, "1 h"),
        (7500, "2 h 5 min"),
        (86_400, "1 day"),
        (200 * 86_400, "200 days"),
    ],
)
def test_a_time_has_the_unit_that_suits_it(seconds: float, text: str):
    """Nobody reads 7500 s."""
    assert text == duration(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-200, "3 min ago"), (0, "just now"), (200, "in 3 min")]
)
def test_a_moment_is_told_from_now(seconds: float, text: str):
    """Past or future."""
    assert text == ago(NOW + timedelta(seconds=seconds), NOW)


def test_a_date_is_that_of_the_reader():
    """Who may live where it is tomorrow already."""
    assert day(NOW, NOW) == "2027-01-01"
    assert day(NOW, NOW.astimezone(timezone(timedelta(hours=13)))) == "2027-01-02"


def test_names_are_sorted_by_their_numbers():
    """hv2 is before hv10, whatever else is in them."""
    names = ["hv10", "hv2", "b", "10.0.0.9", "10.0.0.10", "hv", "2b"]
    assert sorted(names, key=natural) == ["2b", "10.0.0.9", "10.0.0.10", "b", "hv", "hv2", "hv10"]


@given(st.lists(st.text(alphabet="ab12-", min_size=1, max_size=9), min_size=1, max_size=30))
def test_names_have_an_order(names: list[str]):
    """Whatever they are made of."""
    ordered = sorted(names, key=natural)
    ordered.reverse()
    assert sorted(ordered, key=natural) == ordered[::-1]


@given(
    st.lists(st.text(alphabet="abc123", min_size=1, max_size=12), min_size=1, unique=True),
    st.integers(0, 60),
)
def test_as_many_names_are_told_as_there_is_room_for(names: list[str], room: int):
    """None of them cut, and the others counted."""
    text = first_names(names, room)
    shown, _, rest = text.partition(" and ")
    told = shown.split(", ")
    assert told == sorted(names, key=natural)[: len(told)]
    assert rest == (f"{len(names) - len(told)} more" if len(told) < len(names) else "")
    assert len(text) <= room or len(told) == 1
