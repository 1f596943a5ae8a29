# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.model.pacing: how often something may happen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.model.pacing import Backoff, Bucket, Limit, spend

LIMIT = Limit(burst=3, every_s=10.0)


def spent(times: list[float]) -> list[bool]:
    bucket, found = None, []
    for now in times:
        bucket, allowed = spend(LIMIT, bucket, now)
        found.append(allowed)
    return found


def test_a_burst_passes_and_then_one_for_each_interval():
    """Three at once, the fourth 10 s later, and another 10 s after it."""
    assert [True] * 3 + [False, False, True, False, True] == spent([5, 5, 5, 5, 14, 15, 16, 25])


def test_what_was_not_used_does_not_grow_beyond_a_burst():
    """After an hour there are three, not 360."""
    assert [True, True, True, True, False] == spent([0, 3600, 3600, 3600, 3600])


def test_a_clock_that_goes_back_gives_nothing():
    """Nor does it take."""
    bucket, allowed = spend(LIMIT, Bucket(level=0.5, at=100.0), 40.0)
    assert (Bucket(level=0.5, at=40.0), False) == (bucket, allowed)


@given(st.lists(st.floats(0, 1000), max_size=200).map(sorted))
def test_no_stretch_of_time_has_more_than_its_share(times: list[float]):
    """Burst and rate bound every stretch."""
    passed = [now for now, allowed in zip(times, spent(times), strict=True) if allowed]
    for start in range(len(passed)):
        for end in range(start, len(passed)):
            share = LIMIT.burst + (passed[end] - passed[start]) / LIMIT.every_s
            assert end - start + 1 <= share + 1e-6


@pytest.mark.parametrize(
    ("failures", "delay_s"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (8, 60), (10**6, 60)]
)
def test_a_delay_doubles_up_to_a_limit(failures: int, delay_s: float):
    """After those that are free."""
    backoff = Backoff(first_s=1.0, most_s=60.0, free=1, failures=failures)
    assert delay_s == backoff.delay_s(0.0)
    assert delay_s <= backoff.delay_s(0.99) <= delay_s * 1.5


def test_a_success_forgets_the_failures():
    """The next failure is the first."""
    once = Backoff(first_s=1.0, most_s=60.0).failed()
    assert (1.0, 2.0) == (once.delay_s(0.0), once.failed().delay_s(0.0))
    assert 1.0 == once.failed().reset().failed().delay_s(0.0)
