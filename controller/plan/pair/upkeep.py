# SPDX-License-Identifier: Apache-2.0
"""Pure: keeping a wanted pair up: its traps, its kernel entries, and attempts that back off.

Each function looks at one concern and returns the record with what it has to remember, the steps,
and when to look again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..connection import CHILDREN, IN, OUT
from .attempts import backoff_s
from .facts import ConnSeen, Context
from .record import Decision, PairRecord
from .replacement import making, role_of
from .steps import Initiate, Install, RekeyChild, Step

REPAIR_S = 5.0
"""Between two attempts to put kernel entries of one pair back."""
IN_FLIGHT_S = 5.0
"""Between two looks at an attempt that is under way: its failure may raise no event."""


def traps(record: PairRecord, seen: ConnSeen, *, reinstall: bool) -> Iterator[Step]:
    """Traps stand behind SAs that exist; before there are any, the guard alone holds a pair.

    A trap without an SA would make both ends initiate on the first packet, where only one should.
    """
    if not record.closed or not (seen.up or seen.orphaned or seen.traps):
        return
    for child in CHILDREN:
        if reinstall or child not in seen.traps:
            yield Install(name=record.name, child=child)


def repair(record: PairRecord, seen: ConnSeen, context: Context) -> Decision:
    """Rekey the children whose kernel entries somebody removed: new ones put them back.

    As long as one is missing the pair is looked at again: what was found twice is no news, and
    wakes nobody.
    """
    if not seen.missing:
        return Decision(record=record)
    next_at = record.repaired_at + REPAIR_S
    if context.now < next_at:
        return Decision(record=record, wake_at=next_at)
    newest = {child.name: child.id for child in seen.children()}
    steps = tuple(
        RekeyChild(name=record.name, child_id=newest[child])
        for child in sorted(seen.missing)
        if child in newest
    )
    repaired = replace(record, repaired_at=context.now)
    return Decision(record=repaired, steps=steps, wake_at=context.now + REPAIR_S)


def looks_first(record: PairRecord, context: Context) -> bool:
    """Tell whether the SAs of a pair have to be read before it is decided about.

    The start of an attempt raises no event, nor does its failure, and a second attempt beside the
    first would only queue up in the daemon. A pair that waits for its slot is not read. Nor do
    counters raise events, by which a pair that changes over hears its peer.
    """
    if record.look_at is not None and record.look_at <= context.now:
        return True
    attempts = record.attempts
    return attempts.count > 0 and attempts.retry_at <= context.now and attempts.may_start(context)


def initiation(record: PairRecord, loaded: bool, seen: ConnSeen, context: Context) -> Decision:
    """Make the child whose turn it is, once its time has come, and not too often.

    Returns:
        The record, the initiation if there is one, and when to look again. Every attempt and every
        look at one that is under way has its slot of the pace.
    """
    role, now = role_of(context.this_chassis, record.pair.peer), context.now
    turn = making(record.replacement, role, record.down_at, context)
    if turn is None or not loaded or not context.daemon_ready:
        return Decision(record=record)
    child, begins = turn
    if now < begins:
        return Decision(record=record, wake_at=begins)
    if _in_flight(seen, child):
        return _wait(record, now + IN_FLIGHT_S, context)
    attempts = record.attempts
    progressed = attempts.tried == OUT and child == IN
    if not progressed and now < attempts.retry_at:
        slot_at = attempts.retry_at if attempts.may_start(context) else attempts.slot_at
        return Decision(record=record, wake_at=max(attempts.retry_at, slot_at or 0.0))
    if not attempts.may_start(context):
        return _wait(record, now, context)
    count = 0 if progressed else attempts.count
    retry_at = now + backoff_s(record.name, count)
    begun = replace(attempts, tried=child, count=count + 1, retry_at=retry_at, slot_at=None)
    return Decision(
        record=replace(record, attempts=begun),
        steps=(Initiate(name=record.name, child=child),),
        wake_at=retry_at,
        took=None if attempts.reserved(now) else attempts.kind,
    )


def _wait(record: PairRecord, until: float, context: Context) -> Decision:
    """Wait for the slot that the pair has, or take one that is not before a time."""
    attempts = record.attempts
    took, slot_at = None, attempts.slot_at
    if slot_at is None or slot_at <= context.now:
        took = attempts.kind
        slot_at = max(until, context.slots.of(took))
    waiting = replace(attempts, slot_at=slot_at)
    return Decision(
        record=replace(record, attempts=waiting),
        wake_at=max(slot_at, attempts.retry_at),
        took=took,
    )


def _in_flight(seen: ConnSeen, child: str) -> bool:
    """Whether charon still works on an attempt; it repeats its messages by itself."""
    return any(
        sa.state in ("CREATED", "CONNECTING")
        or any(c.name == child and c.state in ("CREATED", "INSTALLING") for c in sa.children)
        for sa in seen.sas
    )
