# SPDX-License-Identifier: Apache-2.0
"""How often the ports of one peer are written."""

from __future__ import annotations

from controller.plan.ports.pace import BURST, SLOW_S, PeerPace


def test_a_peer_that_never_rests_is_written_for_at_its_pace() -> None:
    """A few times at once, then now and then; another one is not held up by it."""
    pace, now, writes = PeerPace(), 0.0, 0
    while now < 100 * SLOW_S:
        if pace.allowed_at("rogue", now) <= now:
            pace.take("rogue", now)
            writes += 1
        now += 1.0
    assert BURST + 100 - 1 <= writes <= BURST + 100 + 1
    assert now >= pace.allowed_at("honest", now)


def test_the_time_of_the_next_write_is_told() -> None:
    """So that nobody has to ask meanwhile."""
    pace = PeerPace()
    for _ in range(int(BURST)):
        assert pace.allowed_at("hv2", 7.0) <= 7.0  # noqa: PLR2004 - the time of the call
        pace.take("hv2", 7.0)
    assert 7.0 + SLOW_S == pace.allowed_at("hv2", 7.0)


def test_who_has_rested_is_forgotten() -> None:
    """However many names come and go."""
    pace = PeerPace()
    for number in range(1000):
        pace.take(f"hv{number}", float(number))
    pace.tidy(1000.0)
    assert SLOW_S + 1 >= len(pace)
    pace.tidy(1000.0 + SLOW_S)
    assert 0 == len(pace)
