# SPDX-License-Identifier: Apache-2.0
"""What `ovn-ipsec peers` shows of what a controller says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.cli import peerview
from ovn_ipsec.cli.layout import Line, height
from ovn_ipsec.cli.settings import Exit
from ovn_ipsec.model.status import PairState

V6 = "fd00:1234:5678:9abc:def0:1234:5678:"


def pair(number: int, state: str = "encrypted", error: str = "", **more: Any) -> dict[str, Any]:
    up = int(state == "encrypted")
    return {
        "peer": f"hv{number}",
        "type": "geneve",
        "local": "10.0.0.1",
        "remote": f"10.0.0.{number}",
        "mode": "require",
        "state": state,
        "since_s": 4.2,
        "ike": up,
        "esp": 2 * up,
        "inner_mtu": 1408,
        "last_error": error,
        **more,
    }


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], Exit.WELL),
        (["encrypted", "clear", "lingering"], Exit.WELL),
        (["encrypted", "blocked"], Exit.DEGRADED),
        (["pending"], Exit.DEGRADED),
    ],
)
def test_a_pair_that_is_wanted_and_not_up_degrades(states: list[str], expected: Exit):
    """Pending and blocked are not well; the rest is."""
    assert expected == peerview.judge_peers([{"state": state} for state in states])


def test_every_state_has_its_place():
    """What is wrong comes before what is well."""
    assert {*peerview.ORDER} == {*PairState}


def test_what_is_wrong_comes_first():
    """Counts, then pairs where there are few, then what to do."""
    pairs = [
        pair(2),
        pair(10, "blocked", "no answer"),
        pair(3, "clear", mode="off", inner_mtu=1442),
        pair(9),
    ]
    assert texts(peerview.first_screen(pairs, 80, 23)) == [
        "4 pairs: 1 blocked, 1 clear, 2 encrypted",
        "",
        "peer  state      for  local     remote     type    mode     ike/esp  MTU",
        "hv10  blocked    4 s  10.0.0.1  10.0.0.10  geneve  require  0/0      1408",
        "hv3   clear      4 s  10.0.0.1  10.0.0.3   geneve  off      0/0      1442",
        "hv2   encrypted  4 s  10.0.0.1  10.0.0.2   geneve  require  1/2      1408",
        "hv9   encrypted  4 s  10.0.0.1  10.0.0.9   geneve  require  1/2      1408",
        "",
        "1 problem on 1 chassis",
        "hv10: blocked: no answer",
        f"    next: {peerview.NEXT}",
    ]


def test_many_pairs_are_counted():
    """And where they are listed is told."""
    pairs = [pair(number) for number in range(2, 1001)]
    assert texts(peerview.first_screen(pairs, 80, 23)) == [
        "999 pairs: 999 encrypted",
        peerview.SEE_EACH,
    ]
    listed = peerview.one_by_one(pairs, 80)
    assert len(listed) == 1 + 999 + 2
    assert listed[-1].text == "no problems"


def test_an_error_that_many_have_is_told_once():
    """Addresses and numbers in it differ, and the peers are named; all of them where asked for."""
    wrong = [pair(n, "blocked", f"no answer from 10.0.0.{n}") for n in range(2, 40)]
    pairs = [*wrong, pair(40, "pending"), pair(41, error="over by now")]
    first = texts(peerview.first_screen(pairs, 80, 23))
    assert "38 chassis: blocked: no answer from ..." in first
    assert "hv40: pending" in first
    assert "hv41: encrypted: over by now" in first
    assert "2 problems on 39 chassis, 1 warning" in first
    everything = texts(peerview.problems(pairs, 80))
    assert {f"hv{n}" for n in range(2, 41)} <= {line.split()[0] for line in everything if line}


def test_no_pairs_say_why():
    """Nothing is wrong with that."""
    (line,) = peerview.first_screen([], 80, 23)
    assert line.text.startswith("no pairs: ")
    assert len(peerview.problems([], 80)) == 3


def test_pairs_are_chosen_by_their_peers():
    """As a shell would."""
    assert [one["peer"] for one in peerview.chosen(map(pair, (1, 2, 10)), "hv1*")] == [
        "hv1",
        "hv10",
    ]


def test_another_version_may_not_say_all_of_it():
    """What is not said is empty."""
    assert peerview.words({}) == ("", "unknown", "", "", "", "", "", "", "")
    assert peerview.words({"peer": "hv2", "since_s": "x", "ike": 1})[-2] == "1/"
    assert texts(peerview.first_screen([{"peer": "hv2"}], 80, 23))[0] == "1 pair: 1 unknown"


PAIRS = st.builds(
    pair,
    st.integers(1, 300),
    st.sampled_from([*PairState, "new"]),
    st.text(alphabet="ab 1", max_size=300),
    local=st.sampled_from(["10.0.0.1", f"{V6}1"]),
    remote=st.sampled_from(["10.0.0.2", f"{V6}2"]),
)


@given(st.lists(PAIRS, max_size=40))
def test_the_first_screen_fits(pairs: list[dict[str, Any]]):
    """80 by 24 with a prompt, whatever is wrong."""
    lines = peerview.first_screen(pairs, 80, 23)
    assert height(lines, 80) <= 23
