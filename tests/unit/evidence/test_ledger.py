# SPDX-License-Identifier: Apache-2.0
"""Events to what is known: nothing is known of a time in which nobody looked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evidence_world import counted, proof, start, state
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.evidence import ledger as ledgers
from ovn_ipsec.evidence.events import (
    Alive,
    Counted,
    Event,
    Own,
    Policy,
    Summed,
    line,
)
from ovn_ipsec.evidence.ledger import GONE, Ledger
from ovn_ipsec.evidence.sums import at_or_before, ended, looked, thinned
from ovn_ipsec.evidence.values import (
    Counts,
    Gap,
    LiveSa,
    OwnCertificate,
    Point,
    PolicySeen,
    Reading,
    Span,
    Sums,
    Tally,
    Volume,
)


def folded(*events: Event) -> Ledger:
    """The ledger of some events; that of its own short form is the same."""
    ledger = Ledger()
    ledger.apply_all(events)
    again = Ledger.of("".join(map(line, ledger.events())))
    assert (ledger.host, ledger.pairs) == (again.host, again.pairs)
    return ledger


def spans(ledger: Ledger, pair: str = "p") -> tuple[Span, ...]:
    return ledger.pairs[pair].spans


# --- pairs ---------------------------------------------------------------------------------------


def test_a_pair_is_encrypted_from_when_that_was_seen_until_it_was_not():
    """And clear text of it is denied since it was closed."""
    found = folded(start(1), state(2, "pending"), state(5, "encrypted"), state(9, "blocked"))
    pair = found.pairs["p"]
    assert pair.spans == (Span(begin=5, end=9),)
    assert (pair.first, pair.state, pair.since, pair.closed_since) == (2, "blocked", 9, 5)
    found.apply(state(12, "clear"))
    assert found.pairs["p"].closed_since is None


def test_the_same_again_changes_nothing():
    """A pair that is encrypted stays so from when it was first seen."""
    found = folded(start(1), state(5, "encrypted"), state(9, "encrypted"))
    assert (spans(found), found.pairs["p"].since) == ((Span(begin=5),), 5)


def test_the_same_sas_carry_a_pair_over_a_gap():
    """The kernel keeps them without anybody; the gap is named all the same."""
    found = folded(
        start(1),
        state(5, "encrypted"),
        Alive(at=60),
        start(100),
        state(101, "encrypted", held_since=4),
    )
    pair = found.pairs["p"]
    assert (pair.spans, pair.held, pair.since) == ((Span(begin=5),), (60,), 5)
    assert found.host.gaps == (Gap(begin=60, end=100),)


@pytest.mark.parametrize("held_since", [None, 61])
def test_other_sas_say_nothing_of_a_gap(held_since: int | None):
    """The pair was encrypted until somebody looked last, and is again."""
    found = folded(
        start(1),
        state(5, "encrypted"),
        Alive(at=60),
        start(100),
        state(101, "encrypted", held_since=held_since),
    )
    assert spans(found) == (Span(begin=5, end=60, lost=True), Span(begin=101))
    assert found.pairs["p"].held == ()


def test_a_pair_that_is_not_encrypted_behind_a_gap_was_so_until_the_last_look():
    """Nobody saw the end."""
    found = folded(start(1), state(5, "encrypted"), Alive(at=60), start(100), state(101, "blocked"))
    assert spans(found) == (Span(begin=5, end=60, lost=True),)
    assert found.pairs["p"].since == 101


def test_two_gaps_in_a_row_are_both_unseen():
    """A controller that ended before it had seen the pair proves nothing of it."""
    begin = (start(1), state(5, "encrypted"), Alive(at=60), start(100), Alive(at=102), start(200))
    found = folded(*begin, state(201, "encrypted", held_since=90))
    assert spans(found) == (Span(begin=5, end=60, lost=True), Span(begin=201))
    found = folded(*begin, state(201, "encrypted", held_since=5))
    assert (spans(found), found.pairs["p"].held) == ((Span(begin=5),), (60, 102))


def test_a_pair_nobody_has_seen_yet_is_not_known_to_be_anything():
    """Until a new controller has decided about it."""
    found = folded(start(1), state(5, "encrypted"), state(6, GONE, pair="q"), start(100))
    assert [pair.unseen_since for pair in found.pairs.values()] == [6, None]


def test_a_pair_that_was_clear_over_a_gap_begins_anew_behind_it():
    """There is nothing to go on with."""
    found = folded(start(1), state(5, "clear"), start(100), state(101, "encrypted", held_since=3))
    assert spans(found) == (Span(begin=101),)


def test_methods_are_kept_where_they_differ():
    """Another way of authentication is another entry; of a pair without a name there is none."""
    found = folded(
        start(1), state(2, "encrypted"), proof(3), proof(4), proof(5, "psk"), proof(6, pair="x")
    )
    assert [(one.at, one.auth) for one in found.pairs["p"].methods] == [(3, "ca"), (5, "psk")]
    assert "x" not in found.pairs


def test_only_so_many_pairs_that_are_gone_are_kept(monkeypatch: pytest.MonkeyPatch):
    """The number of the others is."""
    monkeypatch.setattr(ledgers, "GONE_MAX", 2)
    events = [state(at, "clear", pair=name) for at, name in enumerate("abc", start=2)]
    events += [state(at, GONE, pair=name) for at, name in enumerate("cab", start=6)]
    found = folded(start(1), *events)
    assert (set(found.pairs), found.host.pairs_dropped) == ({"a", "b"}, 1)
    found.apply(state(20, "clear", pair="a"))
    found.apply(state(21, GONE, pair="c"))
    assert set(found.pairs) == {"a", "b", "c"}


# --- sums ----------------------------------------------------------------------------------------

A = LiveSa(out=True, spi=1, made_at=10, bytes=100, packets=1)
B = LiveSa(out=False, spi=2, made_at=10, bytes=300, packets=3)


def test_what_sas_have_carried_adds_up():
    """Those that are there, and those that ended with a last word."""
    sums = looked(Sums(), [A, B, replace(A, spi=9, bytes=0, packets=0)])
    assert sums.total == Volume(out_bytes=100, out_packets=1, in_bytes=300, in_packets=3)
    sums = ended(sums, replace(A, bytes=150, packets=2))
    assert sums == Sums(ended=Volume(out_bytes=150, out_packets=2), live=(B,))
    assert looked(sums, [B]) == sums


def test_an_sa_that_went_without_a_word_counts_with_what_was_seen_of_it():
    """After two looks, since its last word may be on the way."""
    once = looked(Sums(live=(A,)), [])
    assert once == Sums(live=(replace(A, missed=True),))
    assert ended(once, replace(A, bytes=150, packets=2)).at_least is False
    twice = looked(once, [])
    assert twice == Sums(ended=Volume(out_bytes=100, out_packets=1), at_least=True)
    assert looked(once, [replace(A, bytes=120)]) == Sums(live=(replace(A, bytes=120),))


def test_sums_of_a_pair_are_kept_with_their_time():
    """Of one without a name there are none."""
    sums = Sums(live=(A,), rekeys=2, ike_rekeys=1)
    found = folded(
        start(1),
        state(2, "encrypted"),
        Summed(at=3, pair="p", sums=sums),
        Summed(at=3, pair="x", sums=sums),
    )
    pair = found.pairs["p"]
    assert (pair.sums, pair.points) == (sums, (Point(at=3, figures=(100, 1, 0, 0, 2, 1)),))
    assert "x" not in found.pairs


@given(st.lists(st.integers(min_value=1, max_value=5000), max_size=200))
def test_points_are_thinner_the_older_they_are(steps: list[int]):
    """The first and the last are kept, in order, and their number grows with the logarithm."""
    points: tuple[Tally, ...] = ()
    at = 0
    for step in steps:
        at += step
        points = thinned((*points, Tally(at=at, counts=Counts())), 1.0)
    times = [point.at for point in points]
    assert times == sorted(times)
    assert len(times) <= 2 * max(1, at).bit_length() + 4
    if steps:
        assert (times[0], times[-1]) == (steps[0], at)


def test_a_year_of_points_is_short():
    """One in a minute, as the guard is read; one in a quarter of an hour, as pairs are noted."""
    sizes = []
    for step, growth in ((60, ledgers.GUARD_GROWTH), (900, ledgers.PAIR_GROWTH)):
        points: tuple[Tally, ...] = ()
        for at in range(0, 366 * 86_400, step * 10):
            points = thinned((*points, Tally(at=at, counts=Counts())), growth)
        sizes.append(len(points))
    assert sizes[0] <= 120
    assert sizes[1] <= 12


def test_the_last_point_that_is_not_later():
    """None if all are."""
    points = tuple(Tally(at=at, counts=Counts()) for at in (5, 9))
    assert [at_or_before(points, when) for when in (4, 5, 8, 10)] == [
        None,
        points[0],
        points[0],
        points[1],
    ]


# --- the chassis ---------------------------------------------------------------------------------


def test_a_gap_says_how_the_controller_ended_and_whether_the_machine_did():
    """A clock that was set back makes no gap that ends before it begins."""
    found = folded(start(1), Alive(at=9, stopped=True), start(20, "b2"), start(15, "b2"))
    assert found.host.gaps == (
        Gap(begin=9, end=20, clean=True, rebooted=True),
        Gap(begin=20, end=20),
    )
    assert (found.host.begun_at, found.host.boot) == (1, "b2")


def test_only_so_many_gaps_are_kept(monkeypatch: pytest.MonkeyPatch):
    """And the number of the others."""
    monkeypatch.setattr(ledgers, "GAPS_MAX", 2)
    found = folded(*map(start, (1, 2, 3, 4)))
    assert ([gap.begin for gap in found.host.gaps], found.host.gaps_dropped) == ([2, 3], 1)


def test_counters_go_on_while_they_only_grow():
    """What they say anew is one more tally."""
    (epoch,) = folded(start(1), counted(2, 5), counted(3, 7), counted(4, 7)).host.epochs
    assert (epoch.after, [t.counts.out_denied for t in epoch.tallies]) == (None, [5, 7, 7])


@pytest.mark.parametrize("second", [counted(3, 9, epoch="t2"), counted(3, 4), counted(3, 5, "t1")])
def test_counters_that_went_backwards_or_are_others_began_anew(second: Counted):
    """After the last look at the old ones."""
    found = folded(start(1), counted(2, 5), second).host.epochs
    anew = second.layers[0].counts.out_denied != 5
    assert [epoch.after for epoch in found] == ([None, 2] if anew else [None])


def test_a_counter_that_a_layer_does_not_have_went_nowhere():
    """XFRM does not count what passes."""
    (epoch,) = folded(start(1), counted(2, 5, clear=None), counted(3, 6, clear=0)).host.epochs
    assert len(epoch.tallies) == 2


def test_layers_are_counted_apart(monkeypatch: pytest.MonkeyPatch):
    """Each has its own beginnings; of old ones the number is kept."""
    monkeypatch.setattr(ledgers, "EPOCHS_MAX", 2)
    other = Reading(layer="xfrm", epoch="n", counts=Counts(out_denied=1))
    found = folded(
        start(1), counted(2, 5), Counted(at=3, layers=(other,)), counted(4, 9), counted(5, 1)
    )
    assert [(e.layer, e.after) for e in found.host.epochs] == [("xfrm", None), ("nft", 4)]
    assert found.host.epochs_dropped == 1


def test_a_policy_is_obeyed_and_then_in_force():
    """Each generation and phase once, with the first time of both."""
    found = folded(
        start(1),
        Policy(at=2, generation=7, phase="establish"),
        Policy(at=3, generation=7, phase="establish", applied=True),
        Policy(at=4, generation=7, phase="establish", applied=True),
        Policy(at=5, generation=7, phase="enforce", applied=True),
    )
    assert found.host.policies == (
        PolicySeen(generation=7, phase="establish", obeyed_at=2, applied_at=3),
        PolicySeen(generation=7, phase="enforce", obeyed_at=5, applied_at=5),
    )


def test_the_certificate_of_the_chassis_is_known_since_when():
    """With the name of the chassis."""
    host = folded(start(1), Own(at=2, chassis="h1")).host
    assert (host.chassis, host.own) == ("h1", (OwnCertificate(at=2),))


def test_lines_that_cannot_be_read_are_counted_and_the_others_taken():
    """A torn end, or what another release has written."""
    text = line(start(1)) + "\n" + '{"is":"new","at":2}\n' + line(state(3, "clear"))[:20]
    found = Ledger.of(text + "\n" + "[" * 9999)
    assert (found.host.unreadable, found.host.begun_at, found.pairs) == (3, 1, {})
    again = Ledger.of("?\n" + "".join(map(line, found.events())))
    assert again.host.unreadable == 4


@pytest.mark.parametrize(("boot", "spans"), [("b1", [(2, None)]), ("b2", [(2, 2), (9, None)])])
def test_no_sa_outlives_a_boot_whatever_its_clock_said(boot: str, spans: list[object]):
    """A clock that is wrong at first dates the new SAs back to before the gap."""
    found = Ledger()
    found.apply_all(
        [
            start(1),
            state(2, "encrypted"),
            start(8, boot),
            state(9, "encrypted", held_since=1),
        ]
    )
    assert [(one.begin, one.end) for one in found.pairs["p"].spans] == spans
