# SPDX-License-Identifier: Apache-2.0
"""The life of one pair: LIFE, the latch, and what is done in each phase."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.plan.cluster.world import PairIntent
from controller.plan.connection import CHILDREN, ChildSa, IkeSa
from controller.plan.guard import Direction, GuardState
from controller.plan.invariants import MAX_VIOLATIONS, never_clear
from controller.plan.pace import Kind, Slots
from controller.plan.pair import attempts, evidence, replacement, upkeep
from controller.plan.pair import lifecycle as life
from controller.plan.pair.attempts import Attempts
from controller.plan.pair.facts import NOTHING_SEEN, ConnSeen, Context, initiates
from controller.plan.pair.lifecycle import LIFE, Demand, changes_over_at, clear_flows, decide
from controller.plan.pair.lineage import Lineage, shadowing
from controller.plan.pair.record import Decision, PairRecord
from controller.plan.pair.replacement import Replacement
from controller.plan.pair.steps import (
    Initiate,
    Install,
    Load,
    RekeyChild,
    Step,
    TerminateChild,
    TerminateIke,
    Uninstall,
    Unload,
)
from controller.plan.pair.upkeep import REPAIR_S
from ovn_ipsec.model.policy import Mode, Phase, Profile
from ovn_ipsec.model.status import PairState
from tests.contracts.ike_backend import config
from tests.worlds import A, B, C, policy

CONFIG = config()
NEW_CONFIG = replace(CONFIG, reqid_out=7)
NAME, PAIR = CONFIG.name, CONFIG.pair
INTENT = PairIntent(pair=PAIR, mode=Mode.REQUIRE, csum=None)
NEW = PairRecord(name=NAME, pair=PAIR)
OUT, IN = (Initiate(name=NAME, child=child) for child in CHILDREN)
UP_FOR = life.SWITCH_OUT_S


def child(name: str, number: int, state: str = "INSTALLED") -> ChildSa:
    return ChildSa(name=name, id=number, state=state, reqid=1, spi_in=number, spi_out=number)


def sa(number: int = 1, *children: ChildSa, state: str = "ESTABLISHED", mine: bool = True) -> IkeSa:
    return IkeSa(
        conn=NAME,
        id=number,
        state=state,
        initiator=mine,
        initiator_spi=number,
        children=children,
    )


def full(number: int = 1, **how: bool) -> IkeSa:
    return sa(number, child("out", number * 10), child("in", number * 10 + 1), **how)


LOADED = ConnSeen(config=CONFIG.fingerprint, marks=CONFIG.marks, present=True)
UP = replace(LOADED, sas=(full(),))
TRAPPED = replace(UP, traps=frozenset(CHILDREN))
LOADED_NEW = replace(TRAPPED, config=NEW_CONFIG.fingerprint, marks=NEW_CONFIG.marks)


def old(*children: int, **more: float) -> Replacement:
    """What is remembered of CHILD_SAs that another configuration made."""
    made = frozenset((number, "of another") for number in children)
    return Replacement(lineage=Lineage(made=made), **more)


def at(phase: Phase, now: float = 100.0, me: str = A, **more: object) -> Context:
    """The initiator's view unless ``me`` says otherwise; the peer is chB."""
    return Context(phase=phase, now=now, this_chassis=type(A)(me), **more)  # type: ignore[arg-type]


def run(record: PairRecord, seen: ConnSeen, context: Context, **more: object) -> Decision:
    intent = more.get("intent", INTENT)
    wanted = more.get("config", CONFIG)
    return decide(record, intent, wanted, seen, context)  # type: ignore[arg-type]


def outdated(record: PairRecord) -> frozenset[int]:
    return record.replacement.lineage.outdated


def kept(decision: Decision) -> PairRecord:
    assert decision.record is not None
    return decision.record


def kinds(decision: Decision) -> list[type[Step]]:
    return [type(step) for step in decision.steps]


def latched(seen: ConnSeen = TRAPPED) -> PairRecord:
    record = kept(run(NEW, seen, at(Phase.ESTABLISH, 10)))
    return kept(run(record, seen, at(Phase.ESTABLISH, 10 + UP_FOR)))


def test_life_is_total_and_says_what_the_design_says() -> None:
    """Every demand, up or not, has one state."""
    assert {(demand, up) for demand in Demand for up in (False, True)} == set(LIFE)
    assert set(PairState) == set(LIFE.values())
    for up in (False, True):
        assert LIFE[Demand.NONE, up] is PairState.CLEAR
        assert LIFE[Demand.GONE, up] is PairState.LINGERING
        assert LIFE[Demand.QUARANTINED, up] is PairState.QUARANTINED
    assert LIFE[Demand.OPEN, False] is LIFE[Demand.OPEN, True] is PairState.PENDING
    assert LIFE[Demand.CLOSED, False] is PairState.BLOCKED
    assert LIFE[Demand.CLOSED, True] is PairState.ENCRYPTED


@pytest.mark.parametrize(
    ("phase", "mode", "closed", "demand"),
    [
        (Phase.OFF, Mode.REQUIRE, True, Demand.NONE),
        (Phase.RELAX, Mode.REQUIRE, True, Demand.NONE),
        (Phase.ENFORCE, Mode.OFF, True, Demand.NONE),
        (Phase.PREPARE, Mode.REQUIRE, False, Demand.NONE),
        (Phase.PREPARE, Mode.REQUIRE, True, Demand.CLOSED),
        (Phase.ESTABLISH, Mode.REQUIRE, False, Demand.OPEN),
        (Phase.ESTABLISH, Mode.PREFER, True, Demand.CLOSED),
        (Phase.ENFORCE, Mode.PREFER, False, Demand.OPEN),
        (Phase.ENFORCE, Mode.REQUIRE, False, Demand.CLOSED),
    ],
)
def test_demand_is_of_policy_phase_and_latch(
    phase: Phase, mode: Mode, closed: bool, demand: Demand
) -> None:
    """Relax, off and a rule lift; the latch holds in every other phase."""
    assert demand == life.demand_of(replace(NEW, mode=mode, closed=closed), phase)
    assert life.demand_of(replace(NEW, gone_at=1.0), phase) is Demand.GONE


@pytest.mark.parametrize("phase", [Phase.PREPARE, Phase.ESTABLISH, Phase.ENFORCE])
def test_a_latch_holds_when_the_pair_goes_down(phase: Phase) -> None:
    """Once up, it is blocked and not clear."""
    record = kept(run(latched(), LOADED, at(phase, 50)))
    assert record.closed
    assert record.state is PairState.BLOCKED
    assert not clear_flows(record, 50)


@pytest.mark.parametrize(
    ("phase", "mode"),
    [(Phase.RELAX, Mode.REQUIRE), (Phase.OFF, Mode.REQUIRE), (Phase.ENFORCE, Mode.OFF)],
)
def test_only_relax_off_and_a_rule_open_a_latch(phase: Phase, mode: Mode) -> None:
    """We accept clear text first and send it a moment later."""
    decision = run(latched(), TRAPPED, at(phase, 50), intent=replace(INTENT, mode=mode))
    record = kept(decision)
    assert not record.closed
    assert {Direction.IN} == {flow.direction for flow in clear_flows(record, 50)}
    assert 2 == len(clear_flows(record, 50 + life.RELAX_OUT_S))
    assert decision.wake_at == 50 + life.RELAX_OUT_S
    assert {Uninstall} == set(kinds(decision))


def test_a_pair_is_latched_one_direction_at_a_time() -> None:
    """Up, then nothing leaves in clear, then nothing is accepted."""
    decision = run(NEW, UP, at(Phase.ESTABLISH, 10))
    record = kept(decision)
    assert not record.closed
    assert decision.wake_at == changes_over_at(record, 10) == 10 + life.SWITCH_OUT_S
    decision = run(record, UP, at(Phase.ESTABLISH, 12))
    record = kept(decision)
    assert record.closed
    assert [Install, Install] == kinds(decision)
    assert {Direction.IN} == {flow.direction for flow in clear_flows(record, 12)}
    assert decision.wake_at == 10 + life.SWITCH_IN_S
    assert not clear_flows(record, 10 + life.SWITCH_IN_S)
    assert changes_over_at(record, 99) is None


def heard(packets: int, **how: bool) -> ConnSeen:
    """Both children of a new IKE_SA, and what has come over the one that the peer sends over."""
    into = replace(child("in", 21), packets_in=packets)
    return replace(LOADED, sas=(sa(2, child("out", 20), into, **how),))


def test_who_has_made_what_it_sends_over_sends_esp_at_once() -> None:
    """The peer had it in its kernel before it answered; counters are read until it is heard."""
    record = kept(run(NEW, LOADED, at(Phase.ESTABLISH, 10)))
    decision = run(record, heard(0), at(Phase.ESTABLISH, 10.5))
    record = kept(decision)
    assert {Direction.IN} == {flow.direction for flow in clear_flows(record, 10.5)}
    soon = 10.5 + evidence.LOOK_S
    assert (True, soon, soon) == (decision.knock, record.look_at, decision.wake_at)
    assert not upkeep.looks_first(record, at(Phase.ESTABLISH, 10.5))
    assert upkeep.looks_first(record, at(Phase.ESTABLISH, soon))
    touched = kept(run(record, heard(0), at(Phase.ESTABLISH, 10.5)))
    assert soon == touched.look_at
    later = kept(run(touched, heard(0), at(Phase.ESTABLISH, 12.5)))
    assert 14.5 == later.look_at
    last = run(later, heard(3), at(Phase.ESTABLISH, 14.5))
    record = kept(last)
    assert (14.5 + evidence.HEARD_S, None) == (record.accept_until, record.look_at)
    over = run(record, heard(9), at(Phase.ESTABLISH, 14.5 + evidence.HEARD_S))
    assert (PairState.ENCRYPTED, False) == (kept(over).state, over.knock)
    assert not clear_flows(kept(over), 14.5 + evidence.HEARD_S)


def test_who_hears_esp_sends_it_and_soon_takes_nothing_else() -> None:
    """The peer changes over when both its children are up."""
    record = kept(run(NEW, LOADED, at(Phase.ESTABLISH, 10, C)))
    first = kept(run(record, heard(0, mine=False), at(Phase.ESTABLISH, 11, C)))
    assert (False, 11 + evidence.LOOK_S) == (first.closed, first.look_at)
    second = kept(run(first, heard(1, mine=False), at(Phase.ESTABLISH, 12, C)))
    assert (True, 12 + evidence.HEARD_S) == (second.closed, second.accept_until)


def test_a_silent_peer_costs_seven_looks_and_the_fixed_time() -> None:
    """Each comes twice as late as the one before; after that nothing more is read."""
    record = kept(run(NEW, LOADED, at(Phase.ESTABLISH, 0)))
    record = kept(run(record, heard(0), at(Phase.ESTABLISH, 0)))
    looks = 0
    while record.look_at is not None and record.look_at < life.SWITCH_IN_S:
        looks += 1
        record = kept(run(record, heard(0), at(Phase.ESTABLISH, record.look_at)))
    assert 7 == looks
    over = run(record, heard(0), at(Phase.ESTABLISH, life.SWITCH_IN_S))
    assert (PairState.ENCRYPTED, None) == (kept(over).state, kept(over).look_at)


def test_sas_that_were_there_before_are_no_evidence() -> None:
    """Of a pair that was open, of another phase, and of an earlier life: by time alone."""
    first = kept(run(NEW, heard(5), at(Phase.ESTABLISH, 10)))
    assert (False, None, frozenset({2})) == (first.closed, first.look_at, first.known_before)
    again = replace(at(Phase.ESTABLISH, 50), phase_since=50.0)
    known = replace(NEW, known_before=frozenset(), up_at=40.0, mode=Mode.REQUIRE)
    assert frozenset({2}) == kept(run(known, heard(5), again)).known_before
    off = kept(run(NEW, heard(5), at(Phase.ESTABLISH), intent=replace(INTENT, mode=Mode.OFF)))
    newer = replace(heard(5), sas=(*heard(5).sas, full(3)))
    assert frozenset({2, 3}) == kept(run(off, newer, at(Phase.ESTABLISH, 101))).known_before


def test_a_peer_without_rows_may_not_be_clear() -> None:
    """It is as unknown as any other."""
    record = kept(run(NEW, LOADED, at(Phase.ESTABLISH), intent=None))
    assert frozenset() == clear_flows(record, 100)


def test_prepare_loads_and_initiates_nothing() -> None:
    """And a second time it does nothing; without a credential nothing is loaded."""
    assert (Load(config=CONFIG),) == run(NEW, NOTHING_SEEN, at(Phase.PREPARE)).steps
    assert () == run(NEW, LOADED, at(Phase.PREPARE)).steps
    assert () == run(NEW, NOTHING_SEEN, at(Phase.PREPARE), config=None).steps


def test_relax_keeps_sas_and_removes_traps() -> None:
    """So that nothing is renegotiated and nothing triggers."""
    assert [Uninstall, Uninstall] == kinds(run(NEW, TRAPPED, at(Phase.RELAX)))


def test_off_terminates_at_once_at_the_initiator_and_after_grace_at_the_other() -> None:
    """Both would cross."""
    assert [Uninstall, Uninstall, Unload, TerminateIke] == kinds(run(NEW, TRAPPED, at(Phase.OFF)))
    record = replace(NEW, state=PairState.CLEAR, since=100.0)
    passive = run(record, UP, at(Phase.OFF, 100, C))
    assert () == passive.steps
    assert () == run(record, UP, at(Phase.OFF, 104.9, C)).steps
    assert [Unload, TerminateIke] == kinds(run(record, UP, at(Phase.OFF, 105, C)))
    assert [Unload] == kinds(run(record, LOADED, at(Phase.OFF, 100, C)))


def test_a_gone_peer_lingers_and_returns_with_nothing_done() -> None:
    """A restart of ovn-controller costs no SA."""
    decision = run(latched(), TRAPPED, at(Phase.ENFORCE, 100), intent=None)
    assert ((), 100 + life.LINGER_S) == (decision.steps, decision.wake_at)
    record = kept(decision)
    assert record.state is PairState.LINGERING
    decision = run(record, TRAPPED, at(Phase.ENFORCE, 130), intent=None)
    assert 100 == kept(decision).gone_at
    back = run(kept(decision), TRAPPED, at(Phase.ENFORCE, 140))
    assert () == back.steps
    assert kept(back).state is PairState.ENCRYPTED
    gone = run(record, TRAPPED, at(Phase.ENFORCE, 160), intent=None)
    assert gone.record is None
    assert [Uninstall, Uninstall, Unload, TerminateIke] == kinds(gone)
    assert run(record, UP, at(Phase.OFF, 101), intent=None).record is None
    assert [] == kinds(replace(gone, steps=life.remove_steps(NAME, NOTHING_SEEN)))


def test_the_initiator_starts_out_then_in_and_backs_off() -> None:
    """The second child follows without a wait; a failure waits longer each time."""
    first = run(NEW, LOADED, at(Phase.ENFORCE))
    assert (OUT,) == first.steps
    record = kept(first)
    again = run(record, LOADED, at(Phase.ENFORCE, 100.1))
    assert ((), record.attempts.retry_at) == (again.steps, again.wake_at)
    half = replace(LOADED, sas=(sa(1, child("out", 10)),))
    assert (IN,) == run(record, half, at(Phase.ENFORCE, 100.1)).steps
    second = kept(run(record, LOADED, at(Phase.ENFORCE, record.attempts.retry_at)))
    assert second.attempts.retry_at - record.attempts.retry_at > record.attempts.retry_at - 100
    assert attempts.backoff_s("x", 99) <= attempts.BACKOFF_S[-1] * 1.25
    up = kept(run(second, UP, at(Phase.ENFORCE, 200)))
    assert (0, 0.0, "") == (up.attempts.count, up.attempts.retry_at, up.attempts.tried)


def test_a_start_waits_for_its_slot_and_takes_it_once() -> None:
    """It is woken when that comes, and not before."""
    paced = Slots(first=107.0, silent=103.0)
    waiting = run(NEW, LOADED, at(Phase.ENFORCE, slots=paced))
    assert ((), 107.0, Kind.FIRST) == (waiting.steps, waiting.wake_at, waiting.took)
    early = run(kept(waiting), LOADED, at(Phase.ENFORCE, 106, slots=Slots(first=180.0)))
    assert ((), 107.0, None) == (early.steps, early.wake_at, early.took)
    begun = run(kept(waiting), LOADED, at(Phase.ENFORCE, 107, slots=Slots(first=180.0)))
    assert ((OUT,), None, None) == (begun.steps, begun.took, kept(begun).attempts.slot_at)
    again = at(Phase.ENFORCE, 120, slots=Slots(silent=150.0))
    assert Kind.SILENT is run(kept(begun), LOADED, again).took
    free = run(kept(waiting), LOADED, at(Phase.ENFORCE, 106))
    assert ((OUT,), Kind.FIRST) == (free.steps, free.took)
    late = run(
        replace(NEW, attempts=Attempts(slot_at=115.0, retry_at=110.0)),
        LOADED,
        at(Phase.ENFORCE, slots=paced),
    )
    assert ((), 115.0, None) == (late.steps, late.wake_at, late.took)


def test_a_peer_that_has_answered_does_not_wait_behind_silent_ones() -> None:
    """Once is enough; what it had reserved before is given up."""
    record = replace(NEW, attempts=Attempts(tried="out", count=3, slot_at=900.0))
    crowded = Slots(first=500.0, silent=900.0)
    half = replace(LOADED, sas=(sa(1, child("out", 10)),))
    first = run(record, half, at(Phase.ENFORCE, slots=crowded))
    assert ((IN,), Kind.ANSWERED) == (first.steps, first.took)
    gone = run(kept(first), LOADED, at(Phase.ENFORCE, 102, slots=crowded))
    assert ((OUT,), Kind.ANSWERED) == (gone.steps, gone.took)


def test_a_look_at_an_attempt_in_flight_has_its_slot_too() -> None:
    """The daemon repeats its messages for ever: that is no cheaper than another attempt."""
    flying = replace(LOADED, sas=(sa(1, state="CONNECTING"),))
    record = replace(NEW, attempts=Attempts(tried="out", count=1))
    crowded = at(Phase.ENFORCE, slots=Slots(silent=120.0))
    waiting = run(record, flying, crowded)
    assert ((), 120.0, Kind.SILENT) == (waiting.steps, waiting.wake_at, waiting.took)
    same = run(kept(waiting), flying, replace(crowded, now=119.0))
    assert ((), 120.0, None) == (same.steps, same.wake_at, same.took)
    over = run(kept(waiting), LOADED, replace(crowded, now=120.0))
    assert ((OUT,), None) == (over.steps, over.took)


def test_an_attempt_that_has_failed_in_flight_is_repeated_when_it_is_due() -> None:
    """And not only when the next look at it would have been, unless the queue is that long."""
    flying = replace(LOADED, sas=(sa(1, state="CONNECTING"),))
    record = replace(NEW, attempts=Attempts(tried="out", count=1, retry_at=102.0))
    waiting = kept(run(record, flying, at(Phase.ENFORCE)))
    assert 100 + upkeep.IN_FLIGHT_S == waiting.attempts.slot_at
    assert 102.0 == run(waiting, LOADED, at(Phase.ENFORCE, 101)).wake_at
    assert (OUT,) == run(waiting, LOADED, at(Phase.ENFORCE, 102)).steps
    crowded = at(Phase.ENFORCE, 101, slots=Slots(silent=120.0))
    assert 100 + upkeep.IN_FLIGHT_S == run(waiting, LOADED, crowded).wake_at


def test_sas_are_read_before_another_attempt_and_not_while_that_waits() -> None:
    """A read costs the daemon as much as an attempt."""
    free, crowded = at(Phase.ENFORCE), at(Phase.ENFORCE, slots=Slots(silent=150.0))

    def looks(context: Context, **more: float) -> bool:
        tried = Attempts(tried="out", count=1, **more)
        return upkeep.looks_first(replace(NEW, attempts=tried), context)

    assert not upkeep.looks_first(NEW, free)
    assert not looks(free, retry_at=101.0)
    assert looks(free)
    assert not looks(crowded)
    assert not looks(crowded, slot_at=101.0)
    assert looks(crowded, slot_at=100.0)


def test_a_decision_says_what_to_keep_of_a_settled_pair() -> None:
    """Nothing while it is not up, and nothing of a pair in quarantine."""
    settled = run(latched(), TRAPPED, at(Phase.ENFORCE))
    assert ",".join(CONFIG.marks[:2]) == settled.mark
    assert "" == run(latched(), LOADED, at(Phase.ENFORCE)).mark
    quarantined = run(latched(), TRAPPED, at(Phase.ENFORCE, quarantine=frozenset({PAIR.peer})))
    assert "" == quarantined.mark


def test_nothing_starts_without_a_configuration() -> None:
    """No credential, nothing loaded."""
    assert () == run(NEW, NOTHING_SEEN, at(Phase.ENFORCE), config=None).steps
    assert (OUT,) == run(NEW, LOADED, at(Phase.ENFORCE), config=None).steps


@pytest.mark.parametrize(
    ("recovering", "grace_s"), [(False, replacement.GRACE_S), (True, replacement.RECOVERY_GRACE_S)]
)
def test_the_passive_end_starts_after_a_grace(recovering: bool, grace_s: float) -> None:
    """Shorter when our own daemon came back."""
    first = run(NEW, LOADED, at(Phase.ENFORCE, 100, C, recovering=recovering))
    assert ((), 100 + grace_s) == (first.steps, first.wake_at)
    later = at(Phase.ENFORCE, 100 + grace_s, C, recovering=recovering)
    assert (OUT,) == run(kept(first), LOADED, later).steps


def test_the_passive_end_makes_its_half_where_the_peer_has_only_made_the_other() -> None:
    """A stock peer does no more than that; one of ours goes on at once, so a while is waited."""
    alone = replace(LOADED, sas=(sa(1, child("in", 10), mine=False),))
    record = kept(run(NEW, LOADED, at(Phase.ENFORCE, 100, C)))
    seen = run(record, alone, at(Phase.ENFORCE, 103, C))
    assert ((), 103 + replacement.LONE_S) == (seen.steps, seen.wake_at)
    ends = 103 + replacement.LONE_S
    assert (OUT,) == run(kept(seen), alone, at(Phase.ENFORCE, ends, C)).steps
    whole = kept(run(kept(seen), UP, at(Phase.ENFORCE, 104, C)))
    assert whole.replacement.half_at is None
    late = run(record, alone, at(Phase.ENFORCE, 125, C))
    assert late.wake_at == 100 + replacement.GRACE_S


@pytest.mark.parametrize(
    "flying",
    [sa(1, state="CONNECTING"), sa(1, child("out", 1, "INSTALLING")), sa(1, state="CREATED")],
)
def test_nothing_is_started_beside_an_attempt_in_flight(flying: IkeSa) -> None:
    """The daemon repeats its messages; we look again later."""
    decision = run(NEW, replace(LOADED, sas=(flying,)), at(Phase.ENFORCE))
    assert () == decision.steps
    assert decision.wake_at == 100 + upkeep.IN_FLIGHT_S


def test_a_replaced_configuration_comes_up_before_the_old_one_goes() -> None:
    """Load, traps anew, initiate beside; then the old SA by its id."""
    record = latched()
    first = run(record, TRAPPED, at(Phase.ENFORCE), config=NEW_CONFIG)
    assert [Load, Install, Install, Initiate] == kinds(first)
    record = kept(first)
    assert {10, 11} == outdated(record)
    loaded = replace(TRAPPED, config=NEW_CONFIG.fingerprint, marks=NEW_CONFIG.marks)
    waiting = run(record, loaded, at(Phase.ENFORCE, 100.1), config=NEW_CONFIG)
    assert ((), record.attempts.retry_at) == (waiting.steps, waiting.wake_at)
    both = replace(loaded, sas=(full(1), full(2)))
    beside = run(record, both, at(Phase.ENFORCE, 101), config=NEW_CONFIG)
    assert ((), 101 + replacement.RETIRE_S) == (beside.steps, beside.wake_at)
    last = run(kept(beside), both, at(Phase.ENFORCE, 101 + replacement.RETIRE_S), config=NEW_CONFIG)
    assert (TerminateIke(name=NAME, ike_id=1),) == last.steps
    done = run(
        kept(last), replace(loaded, sas=(full(2),)), at(Phase.ENFORCE, 104), config=NEW_CONFIG
    )
    assert ((), frozenset(), 0) == (done.steps, outdated(kept(done)), kept(done).attempts.count)
    assert kept(done).replacement.overlap_at is None


def test_each_end_makes_the_child_anew_that_it_sends_over() -> None:
    """A responder sends over a new child before the initiator can take that in."""
    first, half = full(1), sa(2, child("out", 20))
    stale = replace(latched(), replacement=old(10, 11))
    seen = replace(TRAPPED, sas=(first, half))
    waiting = run(stale, seen, at(Phase.ENFORCE))
    assert ((), 100 + replacement.HAND_OVER_S) == (waiting.steps, waiting.wake_at)
    own = run(kept(waiting), seen, at(Phase.ENFORCE, 100 + replacement.HAND_OVER_S))
    assert (IN,) == own.steps
    turned = replace(TRAPPED, sas=(first, sa(2, child("in", 20), mine=False)))
    other = run(stale, turned, at(Phase.ENFORCE, me=C))
    assert (OUT,) == other.steps
    assert () == run(kept(other), turned, at(Phase.ENFORCE, 100.5, C)).steps
    odd = replace(TRAPPED, sas=(first, sa(2, child("out", 20), mine=False)))
    assert () == run(stale, odd, at(Phase.ENFORCE, me=C)).steps
    both = run(kept(waiting), replace(TRAPPED, sas=(first, full(2))), at(Phase.ENFORCE, 101))
    assert kept(both).replacement.half_at is None


def test_a_replacement_that_fails_backs_off() -> None:
    """The old SAs being up does not make the new ones urgent."""
    record = kept(run(latched(), TRAPPED, at(Phase.ENFORCE), config=NEW_CONFIG))
    loaded = replace(TRAPPED, config=NEW_CONFIG.fingerprint, marks=NEW_CONFIG.marks)
    record = kept(
        run(record, loaded, at(Phase.ENFORCE, record.attempts.retry_at), config=NEW_CONFIG)
    )
    assert 2 == record.attempts.count


def test_a_passive_end_leaves_a_replacement_to_the_initiator() -> None:
    """It is up, so it has no turn."""
    decision = run(latched(), TRAPPED, at(Phase.ENFORCE, me=C), config=NEW_CONFIG)
    assert [Load, Install, Install] == kinds(decision)


def test_a_stale_child_beside_a_new_one_goes_alone() -> None:
    """An IKE_SA that carries new children stays."""
    mixed = sa(1, child("out", 1), child("out", 10), child("in", 11))
    record = replace(latched(), replacement=old(1, overlap_at=90.0))
    decision = run(record, replace(TRAPPED, sas=(mixed,)), at(Phase.ENFORCE))
    assert (TerminateChild(name=NAME, child_id=1),) == decision.steps


def test_the_other_end_retires_what_the_initiator_does_not() -> None:
    """A moment later, so that the two never delete at once."""
    record = replace(latched(), replacement=old(10, 11))
    both = replace(TRAPPED, sas=(full(1), full(2, mine=False)))
    first = run(record, both, at(Phase.ENFORCE, me=C))
    assert ((), 100 + replacement.SETTLE_S) == (first.steps, first.wake_at)
    later = run(kept(first), both, at(Phase.ENFORCE, 100 + replacement.SETTLE_S, C))
    assert (TerminateIke(name=NAME, ike_id=1),) == later.steps


def test_what_shadows_is_younger_sent_over_and_outdated() -> None:
    """An older one, or one over which only the peer sends, can be taken down alone."""
    both = replace(TRAPPED, sas=(full(1), full(2)))
    assert 2 == shadowing(0, both, frozenset({20, 21}))
    assert 0 == shadowing(0, both, frozenset({10, 11}))
    assert 0 == shadowing(0, both, frozenset({10, 11, 20, 21}))
    assert 0 == shadowing(0, replace(both, sas=(full(1), sa(2, child("in", 21)))), frozenset({21}))
    gone = replace(both, sas=(full(1), sa(2, child("out", 20, "DELETING"))))
    assert 0 == shadowing(0, gone, frozenset({20}))
    assert 2 == shadowing(2, replace(both, sas=(*both.sas, full(3))), frozenset({10, 20, 21}))
    assert 0 == shadowing(2, replace(both, sas=(full(3),)), frozenset())


def test_a_configuration_that_comes_back_makes_others_where_its_own_are_older() -> None:
    """Both ends send over those of the one between, and a round trip would be lost with them."""
    record = kept(run(latched(), TRAPPED, at(Phase.ENFORCE), config=NEW_CONFIG))
    between = replace(LOADED_NEW, sas=(full(1), full(2)))
    record = kept(run(record, between, at(Phase.ENFORCE, 101), config=NEW_CONFIG))
    back = run(record, between, at(Phase.ENFORCE, 101.5))
    assert [Load, Install, Install, Initiate] == kinds(back)
    assert {10, 11, 20, 21} == outdated(kept(back))
    assert isinstance(back.steps[0], Load)
    assert -2 == back.steps[0].config.epoch
    loaded = back.steps[0].config
    sas = (full(1), full(2), full(3))
    after = replace(between, config=loaded.fingerprint, marks=loaded.marks, sas=sas)
    last = run(kept(run(kept(back), after, at(Phase.ENFORCE, 102))), after, at(Phase.ENFORCE, 104))
    assert (TerminateIke(name=NAME, ike_id=1), TerminateIke(name=NAME, ike_id=2)) == last.steps


GCM, CNSA_SUITE = "AES_GCM_16-256/PRF_HMAC_SHA2_256/ECP_256", "AES_GCM_16-256/PRF_HMAC_SHA2_384/"
CNSA = replace(INTENT, profile=Profile.CNSA)


def test_sas_of_another_profile_are_replaced_whoever_made_them() -> None:
    """Also by a controller that was restarted: the suite tells; one that nobody knows is left."""
    old = replace(full(1), suite=GCM)
    record = replace(latched(), profile=Profile.CNSA)
    first = run(record, replace(TRAPPED, sas=(old,)), at(Phase.ENFORCE), intent=CNSA)
    assert (OUT,) == first.steps
    assert {10, 11} == outdated(kept(first))
    new = replace(full(2), suite=CNSA_SUITE + "ECP_384")
    both = replace(TRAPPED, sas=(old, new))
    second = run(kept(first), both, at(Phase.ENFORCE, 101), intent=CNSA)
    third = run(kept(second), both, at(Phase.ENFORCE, 103), intent=CNSA)
    assert (TerminateIke(name=NAME, ike_id=1),) == third.steps
    odd = replace(TRAPPED, sas=(replace(old, suite="NULL/NONE"),))
    assert () == run(record, odd, at(Phase.ENFORCE), intent=CNSA).steps
    without = run(record, replace(TRAPPED, sas=(old,)), at(Phase.ENFORCE), config=None, intent=CNSA)
    assert () == without.steps


@pytest.mark.parametrize(
    ("phase", "closed", "state"),
    [
        (Phase.PREPARE, False, PairState.CLEAR),
        (Phase.ESTABLISH, False, PairState.PENDING),
        (Phase.ESTABLISH, True, PairState.BLOCKED),
        (Phase.ENFORCE, False, PairState.BLOCKED),
    ],
)
def test_a_profile_that_the_daemon_cannot_do_is_not_replaced_by_a_weaker_one(
    phase: Phase, closed: bool, state: PairState
) -> None:
    """What was loaded goes, what is up stays, and the error says why."""
    context = at(phase, profiles=frozenset({Profile.DEFAULT}))
    record = replace(NEW, closed=closed, mode=Mode.REQUIRE)
    decision = run(record, TRAPPED, context, intent=CNSA)
    assert [Uninstall, Uninstall, Unload] == kinds(decision)
    assert (state, True) == (kept(decision).state, "cnsa" in kept(decision).error)
    assert () == run(record, NOTHING_SEEN, context, intent=CNSA).steps
    able = run(kept(decision), UP, at(phase), intent=INTENT)
    assert "" == kept(able).error
    lifted = run(kept(decision), NOTHING_SEEN, context, intent=replace(CNSA, mode=Mode.OFF))
    assert () == lifted.steps


@pytest.mark.parametrize("before", [Mode.OFF, Mode.PREFER])
def test_what_was_clear_may_stay_so_for_a_while_when_a_class_changes(before: Mode) -> None:
    """Under enforce: until it is up, one direction at a time, or until its time is over."""
    record = kept(run(NEW, NOTHING_SEEN, at(Phase.ENFORCE), intent=replace(INTENT, mode=before)))
    first = run(record, NOTHING_SEEN, at(Phase.ENFORCE, 200))
    record = kept(first)
    assert (PairState.PENDING, 230.0) == (record.state, record.closes_at)
    assert 2 == len(clear_flows(record, 200))
    assert 230.0 == changes_over_at(record, 229)
    up = kept(run(record, UP, at(Phase.ENFORCE, 210)))
    up = kept(run(up, UP, at(Phase.ENFORCE, 210 + UP_FOR)))
    assert (True, 210 + life.SWITCH_IN_S) == (up.closed, up.accept_until)
    assert kept(run(up, UP, at(Phase.ENFORCE, 213))).closes_at is None
    late = kept(run(record, LOADED, at(Phase.ENFORCE, 230)))
    assert (PairState.BLOCKED, frozenset()) == (late.state, clear_flows(late, 230))
    back = kept(run(record, LOADED, at(Phase.ENFORCE, 210), intent=replace(INTENT, mode=before)))
    assert back.closes_at is None


def test_what_is_new_under_enforce_is_closed_at_once() -> None:
    """Also when a phase changes with the mode: only a class that changes gives time."""
    record = replace(NEW, mode=Mode.REQUIRE)
    assert kept(run(record, NOTHING_SEEN, at(Phase.ENFORCE))).closed
    record = kept(run(NEW, NOTHING_SEEN, at(Phase.ESTABLISH)))
    assert record.closes_at is None
    assert kept(run(record, NOTHING_SEEN, at(Phase.ENFORCE, 101))).closed


def test_a_rule_that_opens_a_pair_leaves_its_sas_until_the_peer_has_followed() -> None:
    """We accept, then send, then take down; the passive end last."""
    off = replace(INTENT, mode=Mode.OFF)
    record = kept(run(latched(), TRAPPED, at(Phase.ENFORCE, 100), intent=off))
    waiting = run(record, UP, at(Phase.ENFORCE, 100 + life.RELAX_OUT_S), intent=off)
    assert ((), 100 + life.RELEASE_S) == (waiting.steps, waiting.wake_at)
    assert 2 == len(clear_flows(kept(waiting), 100 + life.RELAX_OUT_S))
    ends = 100 + life.RELEASE_S
    assert [Unload, TerminateIke] == kinds(run(record, UP, at(Phase.ENFORCE, ends), intent=off))
    passive = at(Phase.ENFORCE, ends, C)
    assert () == run(record, UP, passive, intent=off).steps
    passive = replace(passive, now=ends + life.TEARDOWN_GRACE_S)
    assert [Unload, TerminateIke] == kinds(run(record, UP, passive, intent=off))
    again = kept(run(record, UP, at(Phase.ENFORCE, 105)))
    assert (105.0, False) == (again.up_at, again.closed)


def test_of_two_sas_the_initiator_keeps_the_younger_after_a_while() -> None:
    """Whoever made it had a reason. The other end only waits."""
    twice = replace(TRAPPED, sas=(full(1), full(2, mine=False), sa(3, state="CONNECTING")))
    first = run(latched(), twice, at(Phase.ENFORCE))
    assert ((), 100 + replacement.SETTLE_S) == (first.steps, first.wake_at)
    second = run(kept(first), twice, at(Phase.ENFORCE, 110))
    assert (
        TerminateIke(name=NAME, ike_id=1),
        TerminateIke(name=NAME, ike_id=3, force=True),
    ) == second.steps
    assert () == run(kept(first), twice, at(Phase.ENFORCE, 110, C)).steps


def test_missing_kernel_entries_are_repaired_by_a_rekey_now_and_then() -> None:
    """Not at every look; a child that is not up is left to the initiation."""
    broken = replace(TRAPPED, missing=frozenset(CHILDREN))
    first = run(latched(), broken, at(Phase.ENFORCE))
    assert [RekeyChild, RekeyChild] == kinds(first)
    assert PairState.BLOCKED is kept(first).state
    assert kept(first).error.endswith("of child: in, out")
    soon = run(kept(first), broken, at(Phase.ENFORCE, 101))
    assert ((), 100 + REPAIR_S) == (soon.steps, soon.wake_at)
    again = run(kept(soon), broken, at(Phase.ENFORCE, 100 + REPAIR_S))
    assert [RekeyChild, RekeyChild] == kinds(again)
    healed = run(kept(again), TRAPPED, at(Phase.ENFORCE, 107))
    assert (PairState.ENCRYPTED, "", ()) == (kept(healed).state, kept(healed).error, healed.steps)
    half = replace(broken, sas=(sa(1, child("out", 10), child("in", 11, "DELETING")),))
    assert [RekeyChild, Initiate] == kinds(run(latched(), half, at(Phase.ENFORCE)))


def test_an_orphaned_pair_is_encrypted_and_trapped() -> None:
    """The kernel carries on without the daemon."""
    decision = run(latched(), replace(LOADED, orphaned=True), at(Phase.ENFORCE))
    assert kept(decision).state is PairState.ENCRYPTED
    assert [Install, Install, Initiate] == kinds(decision)


@pytest.mark.parametrize("me", [A, B])
def test_a_restarted_daemon_leaves_the_peer_to_make_what_it_sends_over(me: str) -> None:
    """The kernel still takes in what the peer sends; after a while this end makes both."""
    traps = frozenset(CHILDREN)
    seen = replace(LOADED, orphaned=True, traps=traps, sas=(sa(1, child("out", 10)),))
    waiting = run(replace(latched(), down_at=0.0), seen, at(Phase.ENFORCE, me=me))
    assert ((), 100 + replacement.HAND_OVER_S) == (waiting.steps, waiting.wake_at)
    own = run(kept(waiting), seen, at(Phase.ENFORCE, 100 + replacement.HAND_OVER_S, me=me))
    assert (IN,) == own.steps
    gone = replace(seen, orphaned=False)
    assert (IN,) == run(replace(latched(), down_at=0.0), gone, at(Phase.ENFORCE, me=me)).steps


CLOSED = replace(NEW, mode=Mode.REQUIRE, closed=True)
GUARD = GuardState(ports=frozenset({6081}), local=frozenset({PAIR.local}), may_clear=frozenset())
OPEN_GUARD = replace(GUARD, may_clear=clear_flows(NEW, 0))
INBOUND = replace(
    GUARD, may_clear=frozenset(f for f in OPEN_GUARD.may_clear if f.direction is Direction.IN)
)


@pytest.mark.parametrize(
    ("record", "guard", "seen", "phase", "violations"),
    [
        (CLOSED, None, NOTHING_SEEN, Phase.ESTABLISH, 1),
        (CLOSED, None, NOTHING_SEEN, Phase.RELAX, 0),
        (CLOSED, None, NOTHING_SEEN, Phase.OFF, 0),
        (CLOSED, None, UP, Phase.ESTABLISH, 0),
        (CLOSED, None, replace(NOTHING_SEEN, orphaned=True), Phase.ESTABLISH, 0),
        (CLOSED, GUARD, NOTHING_SEEN, Phase.ESTABLISH, 0),
        (CLOSED, OPEN_GUARD, NOTHING_SEEN, Phase.ESTABLISH, 1),
        (CLOSED, INBOUND, NOTHING_SEEN, Phase.ESTABLISH, 1),
        (replace(CLOSED, accept_until=9.0), INBOUND, NOTHING_SEEN, Phase.ESTABLISH, 0),
        (CLOSED, replace(GUARD, ports=frozenset()), NOTHING_SEEN, Phase.ESTABLISH, 1),
        (CLOSED, replace(GUARD, local=frozenset()), NOTHING_SEEN, Phase.ESTABLISH, 1),
        (replace(CLOSED, closed=False), None, NOTHING_SEEN, Phase.ESTABLISH, 0),
        (replace(CLOSED, closed=False), None, NOTHING_SEEN, Phase.ENFORCE, 1),
        (replace(CLOSED, closed=False, closes_at=9.0), None, NOTHING_SEEN, Phase.ENFORCE, 0),
        (replace(CLOSED, closed=False, closes_at=5.0), None, NOTHING_SEEN, Phase.ENFORCE, 1),
        (NEW, None, NOTHING_SEEN, Phase.ENFORCE, 0),
    ],
)
def test_never_clear_names_what_nothing_holds(
    record: PairRecord, guard: GuardState | None, seen: ConnSeen, phase: Phase, violations: int
) -> None:
    """Guard or SAs; either is enough."""
    found = never_clear([record], guard, {NAME: seen}, policy(phase), 5.0)
    assert violations == len(found)
    assert all(str(NAME) in one for one in found)


def test_never_clear_is_bounded() -> None:
    """A thousand violations are one bug."""
    found = never_clear([CLOSED] * 1000, None, {}, policy(Phase.ENFORCE), 5.0)
    assert MAX_VIOLATIONS == len(found)


def test_the_smaller_name_initiates() -> None:
    """And exactly one of two does."""
    assert initiates(A, B)
    assert not initiates(B, A)


def test_sas_left_from_before_do_not_close_a_pair_at_once() -> None:
    """Switched on again before the old SAs were down: the peer gets its time all the same."""
    record = replace(NEW, up_at=0.0)
    context = replace(at(Phase.ESTABLISH, 100), phase_since=100.0)
    again = kept(run(record, UP, context))
    assert not again.closed
    later = kept(run(again, UP, replace(context, now=100 + life.SWITCH_OUT_S)))
    assert later.closed
    assert later.accept_until == 100 + life.SWITCH_IN_S
