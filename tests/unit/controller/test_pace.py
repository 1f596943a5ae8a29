# SPDX-License-Identifier: Apache-2.0
"""Starts by reservation: buckets, queues, and pairs whose peers never answer."""

from __future__ import annotations

import heapq
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.plan.cluster.world import PairIntent
from controller.plan.connection import ConnName, IkeSa
from controller.plan.pace import BUCKETS, Bucket, Kind, Pace
from controller.plan.pair.attempts import Attempts
from controller.plan.pair.facts import ConnSeen, Context, Slots
from controller.plan.pair.lifecycle import decide
from controller.plan.pair.record import PairRecord
from controller.plan.pair.steps import Initiate
from controller.plan.pair.upkeep import looks_first
from ovn_ipsec.model.policy import Mode, Phase
from tests.contracts.ike_backend import config
from tests.worlds import A

CONFIG = config()
INTENT = PairIntent(pair=CONFIG.pair, mode=Mode.REQUIRE, csum=None)
LOADED = ConnSeen(config=CONFIG.fingerprint, marks=CONFIG.marks, present=True)


def test_a_bucket_fills_up_to_its_burst_and_gives_later_times_below_zero() -> None:
    """And never runs backwards."""
    empty = Bucket(rate=2, burst=3, level=1, at=10).take(10)
    assert (0, 10.5) == (empty.level, empty.slot(10))
    assert 11.0 == empty.take(10).slot(10)
    assert 10.5 == empty.slot(10.5)
    assert 3 == empty.refill(99).level
    assert 0 == empty.refill(5).level
    assert 10 == empty.refill(5).at


def test_each_kind_has_its_own_queue() -> None:
    """However many silent peers have reserved."""
    pace = Pace()
    for _ in range(5000):
        pace = pace.take(Kind.SILENT, 100.0)
    assert Slots(answered=100.0, first=100.0, silent=pace.slot(Kind.SILENT, 100.0)) == pace.slots(
        100.0
    )
    assert pace.slot(Kind.SILENT, 100.0) == pytest.approx(100.0 + 4981 / 10)


@given(st.sampled_from(Kind), st.lists(st.tuples(st.floats(0, 2), st.integers(0, 60)), max_size=30))
def test_slots_never_go_back_and_are_no_more_than_the_rate(
    kind: Kind, asked: list[tuple[float, int]]
) -> None:
    """Whenever they are asked for."""
    pace, now, given_out = Pace(), 100.0, []
    for wait, count in asked:
        now += wait
        for _ in range(count):
            given_out.append(pace.slot(kind, now))
            pace = pace.take(kind, now)
    assert given_out == sorted(given_out)
    bucket = BUCKETS[kind]
    if given_out:
        span = given_out[-1] - given_out[0]
        assert len(given_out) <= bucket.burst + span * bucket.rate + 1.001


class Chassis:
    """The part of the loop that counts here: timers, reads, decisions, the pace."""

    def __init__(self, silent: int, *, hangs: bool) -> None:
        """Know so many peers; their attempts stay in flight for ever, or fail at once."""
        self.records: dict[int, PairRecord] = {}
        self.timers: list[tuple[float, int]] = []
        self.pace, self.hangs = Pace(), hangs
        self.flying: set[int] = set()
        self.seen: dict[int, ConnSeen] = {}
        self.decided: list[float] = []
        self.started: list[float] = []
        self.read: list[float] = []
        for number in range(silent):
            self.add(number, 0.0)

    def add(self, number: int, now: float) -> None:
        """Learn of a pair."""
        name = ConnName(f"ovn-peer{number}@10.9.0.2%10.9.0.1")
        record = PairRecord(name=name, pair=CONFIG.pair, mode=Mode.REQUIRE, since=now)
        self.records[number] = record
        heapq.heappush(self.timers, (now, number))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self.timers and self.timers[0][0] <= until:
            now, number = heapq.heappop(self.timers)
            self.look(number, now)

    def look(self, number: int, now: float) -> None:
        """Decide about one pair."""
        record = self.records[number]
        slots = self.pace.slots(now)
        context = Context(phase=Phase.ENFORCE, now=now, this_chassis=A, slots=slots)
        if looks_first(record, context):
            self.read.append(now)
            sas = (flying(record.name),) if number in self.flying else ()
            self.seen[number] = replace(LOADED, sas=sas)
        seen = self.seen.get(number, LOADED)
        self.decided.append(now)
        decision = decide(record, INTENT, CONFIG, seen, context)
        assert decision.record is not None
        self.records[number] = decision.record
        if decision.took is not None:
            self.pace = self.pace.take(decision.took, now)
        if any(isinstance(step, Initiate) for step in decision.steps):
            self.started.append(now)
            self.flying |= {number} if self.hangs else set()
        if decision.wake_at is not None:
            heapq.heappush(self.timers, (decision.wake_at, number))


def flying(name: ConnName) -> IkeSa:
    """An attempt that the daemon repeats for ever."""
    return IkeSa(conn=name, id=1, state="CONNECTING", initiator=True, initiator_spi=1)


def within(times: list[float], since: float, until: float) -> int:
    return sum(since <= time < until for time in times)


@pytest.mark.slow
@pytest.mark.parametrize("hangs", [True, False])
@pytest.mark.parametrize("silent", [100, 500, 1500])
def test_silent_peers_cost_the_same_however_many_they_are(silent: int, hangs: bool) -> None:
    """After the first attempt of each: ten a second, and two decisions for each of these."""
    chassis = Chassis(silent, hangs=hangs)
    chassis.run(20.0)
    assert silent <= len(chassis.started) <= silent + 10 * 20 + 20
    assert within(chassis.started, 0.0, 1.0) <= 50 + 100 + 20 + 10
    chassis.run(60.0)
    allowed = 10 * 40 + 20
    assert within(chassis.started, 20.0, 60.0) <= allowed
    assert within(chassis.read, 20.0, 60.0) <= allowed
    assert within(chassis.decided, 20.0, 60.0) <= 2 * allowed
    if not hangs:
        assert within(chassis.started, 20.0, 60.0) >= 0.5 * min(10, silent / 35) * 40


def test_all_silent_peers_get_their_turn() -> None:
    """No one is forgotten: the queue is fair."""
    chassis = Chassis(300, hangs=False)
    chassis.run(80.0)
    assert all(record.attempts.count >= 2 for record in chassis.records.values())


@pytest.mark.slow
def test_a_touch_of_every_pair_reads_nothing_of_those_that_wait() -> None:
    """A new policy looks at all of them."""
    chassis = Chassis(600, hangs=True)
    chassis.run(30.0)
    before = len(chassis.read), len(chassis.started)
    for number in chassis.records:
        chassis.look(number, 30.0)
    assert len(chassis.read) - before[0] <= 2
    assert len(chassis.started) == before[1]


def test_a_new_peer_and_one_that_has_answered_start_at_once_beside_silent_ones() -> None:
    """However many."""
    chassis = Chassis(600, hangs=False)
    chassis.run(30.0)
    chassis.add(9998, 30.0)
    chassis.add(9999, 30.0)
    chassis.records[9999] = replace(
        chassis.records[9999], attempts=Attempts(answered=True, tried="out")
    )
    before = len(chassis.started)
    chassis.look(9998, 30.0)
    chassis.look(9999, 30.0)
    assert len(chassis.started) == before + 2
