# SPDX-License-Identifier: Apache-2.0
"""Pure: keeping a wanted pair up: its traps, its kernel entries, and attempts that back off.

Each function looks at one concern and returns the record with what it has to remember, the steps,
and when to look again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from zlib import crc32

from .facts import ConnSeen, Context
from .ike import CHILDREN, IN, OUT
from .record import PairRecord
from .replacement import making, role_of
from .steps import Initiate, Install, RekeyChild, Step

REPAIR_S = 5.0
"""Between two attempts to put kernel entries of one pair back."""
IN_FLIGHT_S = 5.0
"""Between two looks at an attempt that is under way: its failure may raise no event."""
BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


def traps(record: PairRecord, seen: ConnSeen, *, reinstall: bool) -> Iterator[Step]:
    """Traps stand behind SAs that exist; before there are any, the guard alone holds a pair.

    A trap without an SA would make both ends initiate on the first packet, where only one should.
    """
    if not record.closed or not (seen.up or seen.orphaned or seen.traps):
        return
    for child in CHILDREN:
        if reinstall or child not in seen.traps:
            yield Install(name=record.name, child=child)


def repair(
    record: PairRecord, seen: ConnSeen, context: Context
) -> tuple[PairRecord, tuple[Step, ...]]:
    """Rekey the children whose kernel entries somebody removed: new ones put them back."""
    if not seen.missing or context.now < record.repaired_at + REPAIR_S:
        return record, ()
    newest = {child.name: child.id for child in seen.children()}
    steps = tuple(
        RekeyChild(name=record.name, child_id=newest[child])
        for child in sorted(seen.missing)
        if child in newest
    )
    return replace(record, repaired_at=context.now), steps


def backoff_s(name: str, attempts: int) -> float:
    """Seconds until the next attempt: doubling, spread by up to a quarter."""
    base = BACKOFF_S[min(attempts, len(BACKOFF_S) - 1)]
    return base * (1 + crc32(f"{name}{attempts}".encode()) % 1000 / 4000)


def initiation(
    record: PairRecord, loaded: bool, seen: ConnSeen, context: Context
) -> tuple[PairRecord, tuple[Step, ...], float | None]:
    """Make the child whose turn it is, once its time has come, and not too often."""
    role = role_of(context.this_chassis, record.pair.peer)
    turn = making(record.replacement, role, record.down_at, context)
    if turn is None or not loaded or not context.daemon_ready:
        return record, (), None
    child, begins = turn
    if context.now < begins:
        return record, (), begins
    if _in_flight(seen, child):
        return record, (), max(record.retry_at, context.now + IN_FLIGHT_S)
    progressed = record.tried == OUT and child == IN
    if not progressed and context.now < record.retry_at:
        return record, (), record.retry_at
    if not context.may_start:
        return record, (), context.now + 0.1
    attempts = 0 if progressed else record.attempts
    retry_at = context.now + backoff_s(record.name, attempts)
    record = replace(record, tried=child, attempts=attempts + 1, retry_at=retry_at)
    return record, (Initiate(name=record.name, child=child),), retry_at


def _in_flight(seen: ConnSeen, child: str) -> bool:
    """Whether charon still works on an attempt; it repeats its messages by itself."""
    return any(
        sa.state in ("CREATED", "CONNECTING")
        or any(c.name == child and c.state in ("CREATED", "INSTALLING") for c in sa.children)
        for sa in seen.sas
    )
