# SPDX-License-Identifier: Apache-2.0
"""Pure: bringing a wanted pair up and keeping it so: traps, initiation, repair, retirement.

Each function looks at one concern and returns the record with what it has to remember, the steps,
and when to look again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from zlib import crc32

from ovn_ipsec.model.policy import Profile

from .ike import (
    CHILDREN,
    IN,
    OUT,
    ConnName,
    IkeSa,
    established,
    installed,
    installed_children,
    profile_of,
)
from .record import ConnSeen, Context, PairRecord, initiates
from .steps import Initiate, Install, RekeyChild, Step, TerminateChild, TerminateIke

GRACE_S = 30.0
"""How long the passive end waits for the designated initiator (one-way firewalls)."""
RECOVERY_GRACE_S = 3.0
"""The same after our own IKE daemon came back: the peer may not have noticed yet."""
LONE_S = 10.0
"""How long it waits when the peer has made the half that it sends over. A stock peer never makes
the other one: its traps start what its traffic falls into."""
SETTLE_S = 10.0
"""How long two complete IKE_SAs of one pair may stand side by side."""
RETIRE_S = 2.0
"""How long a replaced SA stands beside its successor: by then the peer has installed it too."""
HAND_OVER_S = 20.0
"""How long the initiator of a replacement waits for the other end to make its own child anew: it
may have to wait for FOLLOW_S, and the old SAs carry on meanwhile."""
REPLACE_GRACE_S = 8.0
"""How long the passive end waits, when its own part was replaced, for the initiator to begin."""
FOLLOW_S = 15.0
"""How old what we send over must be for the peer's replacement of its part to make us follow: by
then both have retired what was replaced before, so that two ends do not follow each other."""
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
    """Bring the children up one after the other, each end in its turn, and not too often.

    A responder sends over a new CHILD_SA before the initiator can take that in. So of a live pair
    that is replaced each end makes the child that it sends over: then nothing is lost. The same
    where our IKE daemon has forgotten SAs that the kernel still has.
    """
    fresh = Counter(child.name for child in seen.children() if child.id not in record.stale)
    missing = [child for child in CHILDREN if not fresh[child]]
    replaced, alone = bool(record.stale) or seen.orphaned, missing == [OUT]
    if record.asks and fresh[OUT] == 1:
        missing.insert(0, OUT)
    half = alone or (replaced and len(missing) == 1)
    half_at = context.now if record.half_at is None else record.half_at
    stale_at = context.now if record.stale_at is None else record.stale_at
    record = replace(
        record,
        half_at=half_at if half else None,
        stale_at=stale_at if record.stale and missing else None,
    )
    turn = _turn(record, missing, context, replaced=replaced)
    if not missing or not loaded or turn is None or not context.daemon_ready:
        return record, (), None
    if context.now < turn:
        return record, (), turn
    child = missing[0]
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


def _turn(
    record: PairRecord, missing: list[str], context: Context, *, replaced: bool
) -> float | None:
    """From when this end may initiate; None: not while the pair is up.

    Where only the passive end's part was replaced, the other end knows nothing of it.
    """
    first = initiates(context.this_chassis, record.pair.peer)
    if record.half_at is not None and missing == [IN]:
        return record.half_at + HAND_OVER_S
    if record.half_at is not None and not first and replaced:
        return record.half_at
    if first:
        return context.now
    if record.down_at is None and record.stale_at is not None:
        return record.stale_at + REPLACE_GRACE_S
    if record.down_at is None:
        return None
    turn = record.down_at + (RECOVERY_GRACE_S if context.recovering else GRACE_S)
    return turn if record.half_at is None else min(turn, record.half_at + LONE_S)


def _in_flight(seen: ConnSeen, child: str) -> bool:
    """Whether charon still works on an attempt; it repeats its messages by itself."""
    return any(
        sa.state in ("CREATED", "CONNECTING")
        or any(c.name == child and c.state in ("CREATED", "INSTALLING") for c in sa.children)
        for sa in seen.sas
    )


def retire(
    record: PairRecord, seen: ConnSeen, context: Context
) -> tuple[PairRecord, tuple[Step, ...], float | None]:
    """Take down what was replaced, once its successor carries traffic.

    The end that made the successor does, or else the designated initiator; the other end only if
    that does not.
    """
    present = frozenset(child.id for sa in seen.sas for child in sa.children)
    stale = record.stale & present
    record = replace(record, stale=stale)
    if not stale:
        return _dedupe(replace(record, fresh_at=None), seen, context)
    if not {child.name for child in seen.children() if child.id not in stale} >= set(CHILDREN):
        return replace(record, fresh_at=None), (), None
    fresh_at = context.now if record.fresh_at is None else record.fresh_at
    record = replace(record, fresh_at=fresh_at)
    first = initiates(context.this_chassis, record.pair.peer) or _made_here(seen, stale)
    ends = fresh_at + (RETIRE_S if first else SETTLE_S)
    if context.now < ends:
        return record, (), ends
    return record, tuple(_drop_stale(record.name, seen, stale)), None


def _made_here(seen: ConnSeen, stale: frozenset[int]) -> bool:
    """Whether what is not stale is ours by initiation."""
    return any(
        sa.initiator and _complete(sa) and not stale & {child.id for child in sa.children}
        for sa in seen.sas
    )


def misfits(profile: Profile, seen: ConnSeen) -> frozenset[int]:
    """CHILD_SAs that another profile made, whoever remembers that: they say so themselves."""
    return frozenset(
        child.id
        for sa in seen.sas
        if profile_of(sa) not in (None, profile)
        for child in sa.children
    )


def overtaken(
    record: PairRecord, seen: ConnSeen, stale: frozenset[int], now: float
) -> tuple[int, float | None]:
    """Tell which IKE_SA the peer has begun to replace what it sends over, if it has.

    Its own part was replaced, of which we know nothing else: there is a younger IKE_SA over which
    it only sends. What we send over is ours to make anew, but not at once if it is young.

    Args:
        record: What this said the last time, and since when there are CHILD_SAs.
        seen: The SAs.
        stale: CHILD_SAs that are to be replaced anyway.
        now: Monotonic seconds.

    Returns:
        Its id, for as long as it is there; all that is older is to be replaced. 0: there is none.
        And when to ask again; None: only when something has changed.
    """
    fresh = [(sa, c) for sa in seen.sas for c in sa.children if installed(c) and c.id not in stale]
    begun = (sa.id for sa, _ in fresh if not sa.initiator and installed_children(sa) == {IN})
    youngest = max(begun, default=0)
    replaced = any(sa.id < youngest and child.name == IN for sa, child in fresh)
    sent = [(sa.id, child.id) for sa, child in fresh if child.name == OUT]
    ask_at = None
    if replaced and sent and all(number < youngest for number, _ in sent):
        born = dict(record.born)
        follow_at = max(born[number] for _, number in sent) + FOLLOW_S
        if now >= follow_at:
            return youngest, None
        ask_at = follow_at
    known = any(sa.id == record.followed for sa in seen.sas)
    return record.followed if known else 0, ask_at


def unanswered(asks: int, seen: ConnSeen, stale: frozenset[int]) -> int:
    """Tell which beginning of the peer's we have answered with what we have replaced since, if any.

    It takes what we make now for our answer. To see that there is more to follow (``overtaken``),
    it has to see us make what we send over once again.

    Args:
        asks: What this said the last time.
        seen: The SAs.
        stale: CHILD_SAs made from something else than what shall be.

    Returns:
        The id of its IKE_SA, for as long as it is there. 0: there is none.
    """
    inward = {sa.id: c for sa in seen.sas for c in sa.children if installed(c) and c.name == IN}
    begun = (
        sa.id
        for sa in seen.sas
        if not sa.initiator and installed_children(sa) == {IN} and inward[sa.id].id in stale
    )
    youngest = max(begun, default=0)
    if youngest > min(inward, default=0):
        return youngest
    return asks if any(sa.id == asks for sa in seen.sas) else 0


def inherited(known: int, seen: ConnSeen, stale: frozenset[int]) -> int:
    """Tell which IKE_SA to be replaced an earlier life of this program has left, if any.

    What it was made from is not known: it may be the very configuration that shall be, loaded a
    moment before the end. The daemon would take it up instead of making another one.

    Args:
        known: What this said the last time.
        seen: The SAs, and whether this life has loaded a configuration.
        stale: CHILD_SAs that are to be replaced.

    Returns:
        The id of the youngest, for as long as it is there. 0: there is none.
    """
    old = [sa.id for sa in seen.sas if any(child.id in stale for child in sa.children)]
    if old and not seen.config:
        return max(old)
    return known if any(sa.id == known for sa in seen.sas) else 0


def _drop_stale(name: ConnName, seen: ConnSeen, stale: frozenset[int]) -> Iterator[Step]:
    for sa in seen.sas:
        old = [child.id for child in sa.children if child.id in stale]
        if old and len(old) == len(sa.children):
            yield TerminateIke(name=name, ike_id=sa.id)
        else:
            yield from (TerminateChild(name=name, child_id=child_id) for child_id in old)


def _complete(sa: IkeSa) -> bool:
    return established(sa) and installed_children(sa) >= set(CHILDREN)


def _dedupe(
    record: PairRecord, seen: ConnSeen, context: Context
) -> tuple[PairRecord, tuple[Step, ...], float | None]:
    """Keep the youngest IKE_SA where several are left; only the designated initiator decides."""
    complete = [sa for sa in seen.sas if _complete(sa)]
    if len(seen.sas) < 2 or not complete:
        return replace(record, doubled_at=None), (), None
    doubled_at = context.now if record.doubled_at is None else record.doubled_at
    record = replace(record, doubled_at=doubled_at)
    if not initiates(context.this_chassis, record.pair.peer):
        return record, (), None
    if context.now < doubled_at + SETTLE_S:
        return record, (), doubled_at + SETTLE_S
    kept = max(complete, key=lambda sa: sa.id)
    steps = tuple(
        TerminateIke(name=record.name, ike_id=sa.id, force=not established(sa))
        for sa in seen.sas
        if sa.id != kept.id
    )
    return replace(record, doubled_at=None), steps, None
