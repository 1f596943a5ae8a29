# SPDX-License-Identifier: Apache-2.0
"""Pure: keeping a wanted pair up: its traps, its kernel entries, and attempts with back-off.

Each function handles one concern and returns the record with what it has to remember, the steps,
and when to decide again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ovn_ipsec.model.amend import amended

from ..connection import CHILDREN, IN, OUT
from .attempts import backoff_s
from .facts import ConnSeen, Context
from .record import Decision, PairRecord
from .replacement import making, role_of
from .steps import Initiate, Install, RekeyChild, Step

REPAIR_S = 5.0
"""Between two attempts to restore kernel entries of one pair."""
IN_FLIGHT_S = 5.0
"""Between two reads of an attempt in progress: its failure may raise no event."""


def traps(record: PairRecord, seen: ConnSeen, *, reinstall: bool) -> Iterator[Step]:
    """Install the traps of a pair that has SAs; before that, the guard alone protects it.

    A trap without an SA would make both ends initiate on the first packet, but only one should.
    """
    if not record.closed or not (seen.up or seen.orphaned or seen.traps):
        return
    for child in CHILDREN:
        if reinstall or child not in seen.traps:
            yield Install(name=record.name, child=child)


def repair(record: PairRecord, seen: ConnSeen, context: Context) -> Decision:
    """Rekey the children whose kernel entries someone removed: the new ones restore them.

    While one is missing, the pair is decided about again and again: a finding that an audit
    repeats is not news and wakes nothing.
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
    """Tell whether the SAs of a pair have to be read before a decision about it.

    Neither the start of an attempt nor its failure raises an event, and a second attempt would only
    queue up in the daemon behind the first. Nor do the counters raise events by which a pair that
    is switching hears its peer. A pair that waits for its slot is not read.
    """
    if record.look_at is not None and record.look_at <= context.now:
        return True
    attempts = record.attempts
    return attempts.count > 0 and attempts.retry_at <= context.now and attempts.may_start(context)


def initiation(record: PairRecord, loaded: bool, seen: ConnSeen, context: Context) -> Decision:
    """Make the child whose turn it is, once its time has come, and not too often.

    Returns:
        The record, the initiation if there is one, and when to decide again. Every attempt, and
        every read of one in progress, takes a slot of the pacing.
    """
    role, now = role_of(context, record.pair.peer), context.now
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
    """Wait for the slot that the pair has, or take one that is not before ``until``."""
    attempts = record.attempts
    took, slot_at = None, attempts.slot_at
    if slot_at is None or slot_at <= context.now:
        took = attempts.kind
        slot_at = max(until, context.slots.of(took))
    return Decision(
        record=amended(record, attempts=amended(attempts, slot_at=slot_at)),
        wake_at=max(slot_at, attempts.retry_at),
        took=took,
    )


def _in_flight(seen: ConnSeen, child: str) -> bool:
    """Whether charon is still working on an attempt; it repeats its messages by itself."""
    return any(
        sa.state in ("CREATED", "CONNECTING")
        or any(c.name == child and c.state in ("CREATED", "INSTALLING") for c in sa.children)
        for sa in seen.sas
    )
