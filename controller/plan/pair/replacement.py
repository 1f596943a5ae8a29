# SPDX-License-Identifier: Apache-2.0
"""Pure: the replacement of SAs, a machine of its own: which child to make, and what to take down.

A pair has two CHILD_SAs: over ``out`` goes what we send, over ``in`` what the peer sends. What is
``out`` here is ``in`` there. Each end sees how many of the two are *current* and whether there are
*outdated* ones (``lineage`` says which is which). That is the **stage**, and TABLE says for each
stage and each of the two ends what is done next and after which wait. Nothing is done because of
an event; the stage follows from what is seen, so an end that was restarted goes on where it finds
itself. Only the beginnings of the waits are remembered (Replacement).

**Who makes which child.** The responder of a new CHILD_SA sends over it as soon as it has
answered; the initiator takes that in only when it has read the answer. Of a pair that is down
nothing can be lost, so the designated initiator (the smaller name) makes both. Over a live pair it
would lose packets, so each end makes the child that it sends over: the *peer* then installs it
first and the sender begins when it can. The designated initiator begins, because both are told of
a new policy at about the same time; the other end makes its own part when it sees the beginning
(IN_ANEW). Where only the other end has something new, the first knows nothing of it and the other
begins after REPLACE_GRACE_S. The same holds where an IKE daemon was killed: the kernel still takes
in what the peer sends over SAs that the daemon has forgotten (*orphaned*), so these are old ones.

**When the other end follows.** What it sees of a replacement that it has no part in is a younger
IKE_SA over which the peer only sends, beside its own older part. What it sends over is then
outdated, too (``lineage.superseded_by``), but not while it is younger than FOLLOW_S: two ends could
follow each other without an end. An end that waits for the other longer than HAND_OVER_S makes
both: the peer may be of another make, or down.

**Why epochs.** The daemon takes up an IKE_SA of an equal configuration instead of making another
one. Whoever makes anew what did not change (it follows, it answers once more, it does not know
what an earlier life has loaded) therefore loads its configuration with another epoch.

**Once more.** A peer that begins a replacement gets our answer, made from what we had then. If
that is replaced a moment later, the peer takes what we make now for the answer, and would not
follow. So we make ``out`` twice, each time with another IKE_SA (AGAIN, AGAIN_ALONE): the second one
is younger than its answer, and it follows that one.

**Retirement.** The old ones go when both successors are up, after RETIRE_S: by then the peer has
installed them, too. The end that made both successors does it, or else the designated initiator;
the other end only after SETTLE_S, so that the two never delete at once.

**Duplicates.** Two ends that start at once make two IKE_SAs with both children each, and the
daemon resolves nothing. The designated initiator keeps the youngest child of each kind, since that
is what is sent over, and ends what else there is after SETTLE_S. To end what it sends over would
lose what is under way: the peer takes it down as soon as it hears of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from ovn_ipsec.model.chassis import ChassisName

from ..connection import (
    CHILDREN,
    IN,
    OUT,
    ConnName,
    IkeSa,
    established,
    installed,
    installed_children,
)
from .facts import ConnSeen, Context, initiates
from .lineage import Lineage
from .steps import Step, TerminateChild, TerminateIke

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


class Stage(StrEnum):
    """Where the SAs of a pair stand, as one end sees it."""

    DOWN = "down"
    """Nothing current, and what is outdated does not carry both ways; it may be orphaned."""
    OUT_ALONE = "out alone"
    """Only what we send over is up."""
    IN_ALONE = "in alone"
    """Only what the peer sends over is up."""
    SETTLED = "settled"
    """Both are up, and nothing else: of one IKE_SA, or one of each of two."""
    DOUBLED = "doubled"
    """Both are up, and there is an IKE_SA too many."""
    OUTDATED = "outdated"
    """Both are up and are to be replaced; no successor is there yet."""
    OUT_ANEW = "out anew"
    """What we send over was made anew; what the peer sends over was not, or is orphaned."""
    IN_ANEW = "in anew"
    """What the peer sends over was made anew; what we send over was not, or is orphaned."""
    AGAIN_ALONE = "again, alone"
    """As OUT_ANEW, but the peer would take it for the answer to what it has begun before."""
    AGAIN = "again"
    """Both were made anew, but the peer takes ours for the answer to what it has begun before."""
    OVERLAP = "overlap"
    """Both were made anew, and the outdated ones are still there."""


class Role(StrEnum):
    """Which end of a pair this is."""

    DESIGNATED = "designated initiator"
    OTHER = "other end"


class Since(StrEnum):
    """What a wait counts from."""

    NOW = "at once"
    DOWN = "the pair is not up"
    HALF = "one of the two is up alone"
    OUTDATED = "some are outdated without a successor, and the pair is up"
    OVERLAP = "both successors are up"
    DOUBLED = "there is one too many"


class Fact(StrEnum):
    """What makes a wait shorter."""

    RECOVERING = "our own IKE daemon came back"
    MADE_HERE = "this end has made both successors"


class Ending(StrEnum):
    """What is taken down."""

    NOTHING = "nothing"
    OUTDATED = "the outdated ones"
    SURPLUS = "all children but the youngest of each kind, and all IKE_SAs without one of these"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Seconds from a beginning on."""

    since: Since
    seconds: float = 0.0
    sooner: tuple[Fact, float] | None = None
    """How many instead, under a condition."""


AT_ONCE = Wait(since=Since.NOW)
_PASSIVE = Wait(since=Since.DOWN, seconds=GRACE_S, sooner=(Fact.RECOVERING, RECOVERY_GRACE_S))
_LONE = Wait(since=Since.HALF, seconds=LONE_S)
_HAND_OVER = Wait(since=Since.HALF, seconds=HAND_OVER_S)
_BEGIN = Wait(since=Since.OUTDATED, seconds=REPLACE_GRACE_S)
_RETIRE = Wait(since=Since.OVERLAP, seconds=RETIRE_S)
_RETIRE_LATE = Wait(since=Since.OVERLAP, seconds=SETTLE_S, sooner=(Fact.MADE_HERE, RETIRE_S))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one end does in one stage."""

    make: str = ""
    """The child to make next; empty: none."""
    after: tuple[Wait, ...] = ()
    """The first of these that is over decides; of one that has not begun nothing follows."""
    end: Ending = Ending.NOTHING
    ends_after: Wait = AT_ONCE


_NOTHING = Rule()
TABLE: Mapping[tuple[Stage, Role], Rule] = MappingProxyType(
    {
        (Stage.DOWN, Role.DESIGNATED): Rule(make=OUT, after=(AT_ONCE,)),
        (Stage.DOWN, Role.OTHER): Rule(make=OUT, after=(_PASSIVE,)),
        (Stage.OUT_ALONE, Role.DESIGNATED): Rule(make=IN, after=(AT_ONCE,)),
        (Stage.OUT_ALONE, Role.OTHER): Rule(make=IN, after=(_PASSIVE,)),
        (Stage.IN_ALONE, Role.DESIGNATED): Rule(make=OUT, after=(AT_ONCE,)),
        (Stage.IN_ALONE, Role.OTHER): Rule(make=OUT, after=(_PASSIVE, _LONE)),
        (Stage.SETTLED, Role.DESIGNATED): _NOTHING,
        (Stage.SETTLED, Role.OTHER): _NOTHING,
        (Stage.DOUBLED, Role.DESIGNATED): Rule(
            end=Ending.SURPLUS, ends_after=Wait(since=Since.DOUBLED, seconds=SETTLE_S)
        ),
        (Stage.DOUBLED, Role.OTHER): _NOTHING,
        (Stage.OUTDATED, Role.DESIGNATED): Rule(make=OUT, after=(AT_ONCE,)),
        (Stage.OUTDATED, Role.OTHER): Rule(make=OUT, after=(_BEGIN,)),
        (Stage.OUT_ANEW, Role.DESIGNATED): Rule(make=IN, after=(_HAND_OVER,)),
        (Stage.OUT_ANEW, Role.OTHER): Rule(make=IN, after=(_HAND_OVER,)),
        (Stage.IN_ANEW, Role.DESIGNATED): Rule(make=OUT, after=(AT_ONCE,)),
        (Stage.IN_ANEW, Role.OTHER): Rule(make=OUT, after=(AT_ONCE,)),
        (Stage.AGAIN_ALONE, Role.DESIGNATED): Rule(make=OUT, after=(AT_ONCE,)),
        (Stage.AGAIN_ALONE, Role.OTHER): Rule(make=OUT, after=(_BEGIN, _PASSIVE)),
        (Stage.AGAIN, Role.DESIGNATED): Rule(
            make=OUT, after=(AT_ONCE,), end=Ending.OUTDATED, ends_after=_RETIRE
        ),
        (Stage.AGAIN, Role.OTHER): Rule(
            make=OUT, after=(AT_ONCE,), end=Ending.OUTDATED, ends_after=_RETIRE_LATE
        ),
        (Stage.OVERLAP, Role.DESIGNATED): Rule(end=Ending.OUTDATED, ends_after=_RETIRE),
        (Stage.OVERLAP, Role.OTHER): Rule(end=Ending.OUTDATED, ends_after=_RETIRE_LATE),
    }
)
"""What is done next, for each stage and each end."""


def _waiting(since: Since) -> frozenset[Stage]:
    """Stages in which something waits for that."""
    return frozenset(
        stage
        for (stage, _), rule in TABLE.items()
        if any(wait.since is since for wait in (*rule.after, rule.ends_after))
    )


_HALVES, _OVERLAPS = _waiting(Since.HALF), _waiting(Since.OVERLAP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """What is remembered of the SAs of a pair and their successors."""

    stage: Stage = Stage.DOWN
    """As it was last seen."""
    lineage: Lineage = field(default_factory=Lineage)
    outdated_at: float | None = None
    """Since when there are outdated ones that lack a successor, monotonic seconds."""
    half_at: float | None = None
    """Since when one child is up and the other is not, of a successor or by the peer alone."""
    overlap_at: float | None = None
    """Since when both successors of outdated ones are up."""
    doubled_at: float | None = None
    """Since when there is an IKE_SA too many."""


def stage_of(lineage: Lineage, seen: ConnSeen) -> Stage:
    """Tell where the SAs of a pair stand."""
    current = Counter(child.name for child in seen.children() if child.id not in lineage.outdated)
    old = bool(lineage.outdated)
    again = old and bool(lineage.answered_early) and current[OUT] == 1
    match (current[OUT] > 0, current[IN] > 0):
        case (True, True) if old:
            return Stage.AGAIN if again else Stage.OVERLAP
        case (True, True):
            surplus = len(seen.sas) > 1 and any(map(_complete, seen.sas))
            return Stage.DOUBLED if surplus else Stage.SETTLED
        case (True, False) if again:
            return Stage.AGAIN_ALONE
        case (True, False):
            return Stage.OUT_ANEW if old or seen.orphaned else Stage.OUT_ALONE
        case (False, True):
            return Stage.IN_ANEW if old or seen.orphaned else Stage.IN_ALONE
        case _:
            return Stage.OUTDATED if seen.up else Stage.DOWN


def advance(replacement: Replacement, lineage: Lineage, seen: ConnSeen, now: float) -> Replacement:
    """Take in what is seen: the stage, and since when what the waits count from holds.

    Args:
        replacement: What this said the last time.
        lineage: Which SAs are outdated.
        seen: The SAs.
        now: Monotonic seconds.
    """
    stage = stage_of(lineage, seen)
    lacking = bool(lineage.outdated) and stage is not Stage.OVERLAP

    def since(before: float | None, *, holds: bool) -> float | None:
        return (now if before is None else before) if holds else None

    return Replacement(
        stage=stage,
        lineage=lineage,
        outdated_at=since(replacement.outdated_at, holds=lacking),
        half_at=since(replacement.half_at, holds=stage in _HALVES),
        overlap_at=since(replacement.overlap_at, holds=stage in _OVERLAPS),
        doubled_at=since(replacement.doubled_at, holds=stage is Stage.DOUBLED),
    )


def role_of(this_chassis: ChassisName, peer: ChassisName) -> Role:
    """Tell which end this is."""
    return Role.DESIGNATED if initiates(this_chassis, peer) else Role.OTHER


def making(
    replacement: Replacement, role: Role, down_at: float | None, context: Context
) -> tuple[str, float] | None:
    """Tell which child this end makes next.

    Args:
        replacement: As ``advance`` has left it.
        role: Which end this is.
        down_at: Since when the pair is not up; None while it is.
        context: Time, and whether the IKE daemon came back.

    Returns:
        The child, and from when on; None: none.
    """
    rule = TABLE[replacement.stage, role]
    facts = frozenset({Fact.RECOVERING}) if context.recovering else frozenset()
    begun = _begun(replacement, down_at, context.now)
    times = [_over(wait, begun, facts) for wait in rule.after]
    known = [time for time in times if time is not None]
    return (rule.make, min(known)) if rule.make and known else None


def ending(
    replacement: Replacement, role: Role, seen: ConnSeen, now: float
) -> tuple[Ending, float] | None:
    """Tell what this end takes down, and from when on; None: nothing.

    Args:
        replacement: As ``advance`` has left it.
        role: Which end this is.
        seen: The SAs.
        now: Monotonic seconds.
    """
    rule = TABLE[replacement.stage, role]
    made_here = _made_here(seen, replacement.lineage.outdated)
    facts = frozenset({Fact.MADE_HERE}) if made_here else frozenset()
    over = _over(rule.ends_after, _begun(replacement, None, now), facts)
    return None if rule.end is Ending.NOTHING or over is None else (rule.end, over)


def _begun(
    replacement: Replacement, down_at: float | None, now: float
) -> Mapping[Since, float | None]:
    return {
        Since.NOW: now,
        Since.DOWN: down_at,
        Since.HALF: replacement.half_at,
        Since.OUTDATED: replacement.outdated_at if down_at is None else None,
        Since.OVERLAP: replacement.overlap_at,
        Since.DOUBLED: replacement.doubled_at,
    }


def _over(wait: Wait, begun: Mapping[Since, float | None], facts: frozenset[Fact]) -> float | None:
    since = begun[wait.since]
    if since is None:
        return None
    sooner = wait.sooner is not None and wait.sooner[0] in facts
    return since + (wait.sooner[1] if sooner and wait.sooner else wait.seconds)


def retire(
    name: ConnName, replacement: Replacement, role: Role, seen: ConnSeen, now: float
) -> tuple[Replacement, tuple[Step, ...], float | None]:
    """Take down what was replaced or is too much, once its time has come.

    Returns:
        What is remembered, the steps, and when to look again.
    """
    due = ending(replacement, role, seen, now)
    if due is None:
        return replacement, (), None
    what, ends = due
    if now < ends:
        return replacement, (), ends
    if what is Ending.OUTDATED:
        return replacement, tuple(_drop(name, seen, replacement.lineage.outdated)), None
    return replace(replacement, doubled_at=None), tuple(_dedupe(name, seen)), None


def _complete(sa: IkeSa) -> bool:
    return established(sa) and installed_children(sa) >= set(CHILDREN)


def _made_here(seen: ConnSeen, outdated: frozenset[int]) -> bool:
    """Whether what is current is ours by initiation."""
    return any(
        sa.initiator and _complete(sa) and not outdated & {child.id for child in sa.children}
        for sa in seen.sas
    )


def _drop(name: ConnName, seen: ConnSeen, outdated: frozenset[int]) -> Iterator[Step]:
    """An IKE_SA that carries current children stays."""
    for sa in seen.sas:
        old = [child.id for child in sa.children if child.id in outdated]
        if old and len(old) == len(sa.children):
            yield TerminateIke(name=name, ike_id=sa.id)
        else:
            yield from (TerminateChild(name=name, child_id=child_id) for child_id in old)


def _dedupe(name: ConnName, seen: ConnSeen) -> Iterator[Step]:
    by_age = sorted(seen.children(), key=lambda child: child.id)
    kept = set({child.name: child.id for child in by_age}.values())
    for sa in seen.sas:
        held = {child.id for child in sa.children}
        if not held & kept:
            yield TerminateIke(name=name, ike_id=sa.id, force=not established(sa))
            continue
        surplus = sorted(
            child.id for child in sa.children if installed(child) and child.id not in kept
        )
        yield from (TerminateChild(name=name, child_id=child_id) for child_id in surplus)
