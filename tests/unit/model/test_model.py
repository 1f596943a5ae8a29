# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.model: what the nouns compute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.model.expiry import Expiry, expiry
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import NO_POLICY, Mode, Phase, strongest
from ovn_ipsec.model.status import Digest, PairCounts


def test_modes_are_ordered() -> None:
    """Off is weaker than prefer, and prefer than require."""
    assert sorted([Mode.REQUIRE, Mode.OFF, Mode.PREFER], key=lambda mode: mode.strength) == [
        Mode.OFF,
        Mode.PREFER,
        Mode.REQUIRE,
    ]


@given(st.lists(st.sampled_from(Mode), min_size=1))
def test_strongest(modes: list[Mode]) -> None:
    """No mode given is stronger than the strongest, and it is one of them."""
    found = strongest(*modes)
    assert found in modes
    assert all(found.strength >= mode.strength for mode in modes)


def test_no_policy_is_off() -> None:
    """Where nothing was ever written nothing is encrypted."""
    assert (NO_POLICY.generation, NO_POLICY.phase, NO_POLICY.default) == (0, Phase.OFF, Mode.OFF)


@pytest.mark.parametrize(
    ("counts", "wanted", "all_up"),
    [
        (PairCounts(), 0, True),
        (PairCounts(clear=3, lingering=2), 0, True),
        (PairCounts(encrypted=2), 2, True),
        (PairCounts(encrypted=2, pending=1), 3, False),
        (PairCounts(encrypted=2, blocked=1), 3, False),
    ],
)
def test_counts(counts: PairCounts, wanted: int, all_up: bool) -> None:
    """Pending and blocked pairs are wanted and not up; clear and lingering ones do not count."""
    assert (wanted, all_up) == (counts.wanted, counts.all_up)


def test_known_and_unknown_differ() -> None:
    """Knowing that there is nothing is not the same as not knowing."""
    assert Known(()) != Unknown("netlink")


@pytest.mark.parametrize("life", [timedelta(hours=24), timedelta(days=90), timedelta(days=3650)])
def test_who_renews_in_time_is_not_warned_of(life: timedelta) -> None:
    """That is by 90 % of a life; behind it comes a word, and another before the end."""
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    found = [expiry(begin, begin + life, begin + life * part / 1000) for part in range(1001)]
    assert set(found[:900]) == {Expiry.VALID}
    assert list(dict.fromkeys(found)) == list(Expiry)
    assert found[-1] is Expiry.EXPIRED


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (timedelta(days=30), Expiry.VALID),
        (timedelta(days=30, seconds=-1), Expiry.EXPIRING),
        (timedelta(days=7), Expiry.EXPIRING),
        (timedelta(days=7, seconds=-1), Expiry.URGENT),
        (timedelta(seconds=1), Expiry.URGENT),
        (timedelta(0), Expiry.EXPIRED),
    ],
)
def test_a_long_life_ends_with_a_word_30_and_7_days_before(
    left: timedelta, expected: Expiry
) -> None:
    """To the second."""
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    end = begin + timedelta(days=365)
    assert expiry(begin, end, end - left) is expected


def test_counts_are_added_and_taken_from_each_other() -> None:
    """What claims to be part of less than it is leaves nothing, not a negative number."""
    all_of, some = PairCounts(encrypted=3, blocked=1), PairCounts(encrypted=2, blocked=2)
    assert PairCounts(encrypted=1) == all_of.less(some)
    assert PairCounts(encrypted=5, blocked=3) == all_of.plus(some)
    digest = Digest(generation=1, phase=Phase.ENFORCE, agent="a", counts=all_of, across=some)
    assert PairCounts(encrypted=1) == digest.within
