# SPDX-License-Identifier: Apache-2.0
"""Pure: the replacement of SAs, a state machine of its own: which child to make, what to take down.

A pair has two CHILD_SAs: over ``out`` goes what we send, over ``in`` what the peer sends. What is
``out`` here is ``in`` there. Each end sees how many of the two are *current* and whether there are
*outdated* ones (``lineage`` says which is which). This is the **stage**, and TABLE says for each
stage and each of the two ends what it does next and after which wait. Nothing is done because of an
event; the stage follows from what is seen, so an end that was restarted continues from the state in
which it finds itself. Only the beginnings of the waits are remembered (Replacement).

**Which end makes which child.** The responder of a new CHILD_SA sends over it as soon as it has
answered; the initiator can receive over it only once it has read the answer. A pair that is down
has nothing to lose, so the designated initiator (the smaller name) makes both children. On a live
pair this would lose packets, so each end makes the child that it sends over: the *peer* then
installs it first, and the sender starts when it can. The designated initiator begins, because both
learn of a new policy at about the same time; the other end makes its own part when it sees the
beginning (IN_ANEW). If only the other end has something new, the designated initiator does not know
that, and the other end begins after REPLACE_GRACE_S. The same applies after an IKE daemon was
killed: the kernel still accepts what the peer sends over SAs that the daemon has forgotten
(*orphaned*), so these count as old ones.

**When the other end follows.** All that it sees of a replacement in which it has no part is a
younger IKE_SA over which the peer only sends, beside its own older part. The child that it sends
over is then outdated, too (``lineage.superseded_by``), but not while it is younger than FOLLOW_S:
otherwise two ends could follow each other for ever. An end that waits for the other longer than
HAND_OVER_S makes both children: the peer may be another implementation, or down.

**Why there are epochs.** The daemon reuses an IKE_SA with an equal configuration instead of making
another one. An end that replaces SAs although its configuration has not changed (because it
follows, answers once more, or does not know what an earlier run has loaded) therefore loads its
configuration with another epoch.

**Once more.** A peer that begins a replacement gets our answer, made from what we had then. If we
replace that a moment later, the peer takes what we make now for the answer, and would not follow.
So we make ``out`` twice, each time with another IKE_SA (AGAIN, AGAIN_ALONE): the second one is
younger than the peer's answer, so the peer follows it.

**Retirement.** The old ones are taken down RETIRE_S after both successors are up: by then the peer
has installed them, too. The end that made both successors does this, or else the designated
initiator; the other end does it only after SETTLE_S, so that the two never delete at the same time.

**Duplicates.** Two ends that start at the same time make two IKE_SAs with both children each, and
the daemon does not resolve this. The designated initiator keeps the youngest child of each kind,
since that is the one that is sent over, and ends the others after SETTLE_S. Ending a child that is
sent over would lose packets in flight: the peer takes it down as soon as it is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from ovn_ipsec.model.amend import amended
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
"""How long the other end waits for the designated initiator (one-way firewalls)."""
RECOVERY_GRACE_S = 3.0
"""The same, after our own IKE daemon came back: the peer may not have noticed yet."""
LONE_S = 10.0
"""How long it waits if the peer has made only the child that it sends over. A stock peer never
makes the other one: its traps initiate whatever its traffic needs."""
SETTLE_S = 10.0
"""How long two complete IKE_SAs of one pair may exist side by side."""
RETIRE_S = 2.0
"""How long a replaced SA exists beside its successor: by then the peer has installed it, too."""
HAND_OVER_S = 20.0
"""How long the end that began a replacement waits for the other end to replace its own child: that
end may have to wait for FOLLOW_S, and the old SAs carry traffic meanwhile."""
REPLACE_GRACE_S = 8.0
"""How long the other end, whose own part was replaced, waits for the initiator to begin."""


class Stage(StrEnum):
    """The state of the SAs of a pair, as one end sees it."""

    DOWN = "down"
    """None is current, and the outdated ones do not carry traffic both ways; maybe orphaned."""
    OUT_ALONE = "out alone"
    """Only the child that we send over is up."""
    IN_ALONE = "in alone"
    """Only the child that the peer sends over is up."""
    SETTLED = "settled"
    """Both are up, and nothing else: both of one IKE_SA, or one of each of two."""
    DOUBLED = "doubled"
    """Both are up, and there is one IKE_SA too many."""
    OUTDATED = "outdated"
    """Both are up and have to be replaced; there is no successor yet."""
    OUT_ANEW = "out anew"
    """The child that we send over was replaced; the peer's was not, or is orphaned."""
    IN_ANEW = "in anew"
    """The child that the peer sends over was replaced; ours was not, or is orphaned."""
    AGAIN_ALONE = "again, alone"
    """As OUT_ANEW, but the peer would take ours for the answer to what it has begun before."""
    AGAIN = "again"
    """Both were replaced, but the peer takes ours for the answer to what it has begun before."""
    OVERLAP = "overlap"
    """Both were replaced, and the outdated ones still exist."""


class Role(StrEnum):
    """Which end of a pair this is."""

    DESIGNATED = "designated initiator"
    OTHER = "other end"
    DELEGATED = "whose SAs another program makes"
    """It asks for what it sends over, and ends nothing."""


class Since(StrEnum):
    """What a wait counts from."""

    NOW = "at once"
    DOWN = "the pair was wanted or went down"
    HALF = "one of the two came up alone"
    OUTDATED = "SAs of a pair that is up became outdated and lack a successor"
    OVERLAP = "both successors came up"
    DOUBLED = "an IKE_SA too many appeared"


class Fact(StrEnum):
    """What makes a wait shorter."""

    RECOVERING = "this end's IKE daemon has just come back"
    MADE_HERE = "this end has made both successors"


class Ending(StrEnum):
    """What is taken down."""

    NOTHING = "nothing"
    OUTDATED = "the outdated ones"
    SURPLUS = "all children but the youngest of each kind, and all IKE_SAs without one of these"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Seconds from the beginning of something."""

    since: Since
    seconds: float = 0.0
    sooner: tuple[Fact, float] | None = None
    """A condition, and the number of seconds that apply under it instead."""


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
    """The earliest of these that ends decides; one that has not begun does not count."""
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
        **{(stage, Role.DELEGATED): _NOTHING for stage in Stage},
        (Stage.DOWN, Role.DELEGATED): Rule(make=OUT, after=(AT_ONCE,)),
        (Stage.IN_ALONE, Role.DELEGATED): Rule(make=OUT, after=(AT_ONCE,)),
    }
)
"""What is done next, for each stage and each end."""


def _waiting(since: Since) -> frozenset[Stage]:
    """Stages in which something waits for this."""
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
    """The stage at the last look."""
    lineage: Lineage = field(default_factory=Lineage)
    outdated_at: float | None = None
    """Since when outdated SAs lack a successor, monotonic seconds."""
    half_at: float | None = None
    """Since when one child is up and the other is not: of the successors, or by the peer alone."""
    overlap_at: float | None = None
    """Since when both successors of outdated SAs are up."""
    doubled_at: float | None = None
    """Since when there is one IKE_SA too many."""


def stage_of(lineage: Lineage, seen: ConnSeen) -> Stage:
    """Tell in which stage the SAs of a pair are."""
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
    """Determine the stage, and since when the conditions hold from which the waits count.

    Args:
        replacement: The previous result.
        lineage: Which SAs are outdated.
        seen: The SAs.
        now: Monotonic seconds.
    """
    stage = stage_of(lineage, seen)
    lacking = bool(lineage.outdated) and stage is not Stage.OVERLAP

    def since(before: float | None, *, holds: bool) -> float | None:
        return (now if before is None else before) if holds else None

    return amended(
        replacement,
        stage=stage,
        lineage=lineage,
        outdated_at=since(replacement.outdated_at, holds=lacking),
        half_at=since(replacement.half_at, holds=stage in _HALVES),
        overlap_at=since(replacement.overlap_at, holds=stage in _OVERLAPS),
        doubled_at=since(replacement.doubled_at, holds=stage is Stage.DOUBLED),
    )


def role_of(context: Context, peer: ChassisName) -> Role:
    """Tell which end this is."""
    if context.abilities.delegated:
        return Role.DELEGATED
    return Role.DESIGNATED if initiates(context.this_chassis, peer) else Role.OTHER


def making(
    replacement: Replacement, role: Role, down_at: float | None, context: Context
) -> tuple[str, float] | None:
    """Tell which child this end makes next, and when.

    Args:
        replacement: From ``advance``.
        role: Which end this is.
        down_at: Since when the pair is not up; None if it is up.
        context: Time, and whether the IKE daemon came back.

    Returns:
        The child, and the earliest time; None: no child.
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
    """Tell what this end takes down, and when at the earliest; None: nothing.

    Args:
        replacement: From ``advance``.
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
    """Take down what was replaced or is superfluous, once its time has come.

    Returns:
        What is remembered, the steps, and when to call this again.
    """
    due = ending(replacement, role, seen, now)
    if due is None:
        return replacement, (), None
    what, ends = due
    if now < ends:
        return replacement, (), ends
    if what is Ending.OUTDATED:
        return replacement, tuple(_drop(name, seen, replacement.lineage.outdated)), None
    return amended(replacement, doubled_at=None), tuple(_dedupe(name, seen)), None


def make_room(name: ConnName, replacement: Replacement, seen: ConnSeen) -> tuple[Step, ...]:
    """Take down what has to be replaced before its successor is made.

    That is for a daemon that cannot have both: the pair is down in between, and clear text is
    denied to it as to any that is down.
    """
    if replacement.stage is not Stage.OUTDATED:
        return ()
    return tuple(_drop(name, seen, replacement.lineage.outdated))


def _complete(sa: IkeSa) -> bool:
    return established(sa) and installed_children(sa) >= set(CHILDREN)


def _made_here(seen: ConnSeen, outdated: frozenset[int]) -> bool:
    """Whether this end initiated the current children."""
    return any(
        sa.initiator and _complete(sa) and not outdated & {child.id for child in sa.children}
        for sa in seen.sas
    )


def _drop(name: ConnName, seen: ConnSeen, outdated: frozenset[int]) -> Iterator[Step]:
    """Take down the outdated children; an IKE_SA that also carries current ones is kept."""
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
