# SPDX-License-Identifier: Apache-2.0
"""What is remembered of pairs that are closed, and what is not of those that are open."""

from __future__ import annotations

from dataclasses import replace

from controller.plan.latch import Latches
from controller.plan.pair.clear import flows_of
from controller.plan.pair.record import PairRecord
from ovn_ipsec.model.policy import Mode
from tests.contracts.ike_backend import config

CONFIG = config()
OPEN = PairRecord(name=CONFIG.name, pair=CONFIG.pair, mode=Mode.REQUIRE)
CLOSED = replace(OPEN, closed=True)


def test_a_closed_pair_that_is_forgotten_comes_back_closed_and_an_open_one_open() -> None:
    """Whether or not it was ever up; a class that is off lets it out."""
    for before in (CLOSED, OPEN):
        latches = Latches()
        latches.put(before.name, before, before)
        assert latches.flows() == ({flows_of(before)[0]} if before.closed else frozenset())
        latches.put(before.name, before, None)
        assert not latches.flows()
        assert before.closed is latches.holds(OPEN)
        assert not latches.holds(replace(OPEN, mode=Mode.OFF))


def test_another_name_takes_over_what_is_closed() -> None:
    """By the chassis of the peer, and by the address where it was up."""
    old, new = Latches(), Latches()
    old.put(CLOSED.name, CLOSED, CLOSED)
    assert not new.holds(OPEN)
    new.inherit(old)
    assert new.holds(OPEN)
    up, other = Latches(), Latches()
    up.put(CLOSED.name, CLOSED, replace(CLOSED, up_at=1.0))
    other.inherit(up)
    assert other.flows() == {flows_of(CLOSED)[0]}


def test_what_an_earlier_life_has_left_counts_for_peers_that_are_away() -> None:
    """Of a pair that is there it is known what becomes of it."""
    flow = flows_of(CLOSED)[0]
    way = (flow.local, flow.remote)
    latches = Latches()
    latches.remember([flow], {way})
    assert (latches.flows(), latches.holds(OPEN)) == (frozenset(), False)
    latches.remember([flow], set())
    assert (latches.flows(), latches.holds(OPEN)) == ({flow}, True)
