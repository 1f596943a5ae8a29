# SPDX-License-Identifier: Apache-2.0
"""How often something is done for one who asks all the time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.model.allowance import Allowance


def test_so_many_times_at_once_and_then_once_every_so_often():
    """And it says when the next time is."""
    left = Allowance.full(2, 10.0, 5.0)
    for _ in range(2):
        assert left.allows(5.0)
        left = left.take(5.0)
    assert not left.allows(14.9)
    assert left.next_at == 15.0
    assert left.allows(15.0)
    assert left.give_back().allows(5.0)
    assert left.left(100.0) == 2.0, "no more than at first, however long it takes"


@given(st.lists(st.floats(0, 3), max_size=200))
def test_whoever_asks_all_the_time_gets_no_more(steps: list[float]):
    """Whenever he asks; a clock that stands still gives nothing."""
    left, now, done = Allowance.full(3, 2.0, 0.0), 0.0, 0
    for step in steps:
        now += step
        if left.allows(now):
            left, done = left.take(now), done + 1
    assert done <= 3 + now / 2.0
