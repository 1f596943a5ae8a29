# SPDX-License-Identifier: Apache-2.0
"""Pure: how the policy in SB follows the one that NB asks for, phase by phase.

``step`` takes what is published, what is asked for and what the chassis report, and returns what
to publish next. It moves at most once: TRANSITIONS says where each event leads from each
phase, and whether that makes a new generation. A generation is one policy; a phase is one step of
its rollout. The published policy in SB is the only memory; if SB has lost it, or was restored from
a backup, the report in NB says how far the cluster was, and it continues from there. Whether NB is
obeyed at all is decided before, in standing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from ovn_ipsec.model.policy import (
    NO_POLICY,
    PROTECTION,
    Auth,
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Phase,
    Rollout,
    next_generation,
)
from ovn_ipsec.policy.across import end_mode
from ovn_ipsec.schema import sb_global

from ..observe.views import NbView, SbView
from ..policy.target import Target
from .census import Census
from .gate import AUTH_PATIENCE_S, PATIENCE_S
from .progress import JUST_NOW, Elapsed

TIMEOUT_S: Mapping[Phase, float] = MappingProxyType({Phase.PREPARE: 60.0, Phase.RELAX: 60.0})
"""How long a phase waits for acknowledgements; the others last until something happens."""

ROWS_EVERY_S = 1.0
"""Minimum time between two published changes that are caused by chassis rows (FOLLOW, EASE)."""

TURN_S = 30.0
"""How long pairs have to authenticate again before the old method is no longer accepted."""


class Event(StrEnum):
    """What can advance a policy."""

    CHANGE = "policy changed"
    """NB asks for encryption, and SB does not carry that policy."""
    DISABLE = "switched off"
    """NB asks for no encryption."""
    ADVANCE = "phase done"
    """What the phase waits for has happened, or its time is up."""
    RESTORE = "policy restored"
    """SB lost the policy; NB knows how far it was."""
    FOLLOW = "classes changed"
    """The same rules give another result, since chassis or networks have changed."""
    TURN = "authentication turned"
    """The next step to another authentication method: accept both, use the new one, drop the old.
    """
    EASE = "classes weakened"
    """As FOLLOW, but a pair is protected less: chassis accept that only with a new generation."""


@dataclass(frozen=True, slots=True)
class Move:
    """Where an event leads."""

    phase: Phase
    raises: bool
    """Whether this makes a new generation."""


TRANSITIONS: Mapping[tuple[Phase, Event], Move] = MappingProxyType(
    {
        (Phase.OFF, Event.CHANGE): Move(Phase.PREPARE, raises=True),
        (Phase.OFF, Event.DISABLE): Move(Phase.OFF, raises=False),
        (Phase.OFF, Event.ADVANCE): Move(Phase.OFF, raises=False),
        (Phase.OFF, Event.RESTORE): Move(Phase.OFF, raises=True),
        (Phase.PREPARE, Event.CHANGE): Move(Phase.PREPARE, raises=True),
        (Phase.PREPARE, Event.DISABLE): Move(Phase.RELAX, raises=True),
        (Phase.PREPARE, Event.ADVANCE): Move(Phase.ESTABLISH, raises=False),
        (Phase.PREPARE, Event.RESTORE): Move(Phase.PREPARE, raises=True),
        (Phase.ESTABLISH, Event.CHANGE): Move(Phase.ESTABLISH, raises=True),
        (Phase.ESTABLISH, Event.DISABLE): Move(Phase.RELAX, raises=True),
        (Phase.ESTABLISH, Event.ADVANCE): Move(Phase.ENFORCE, raises=False),
        (Phase.ESTABLISH, Event.RESTORE): Move(Phase.ESTABLISH, raises=True),
        (Phase.ENFORCE, Event.CHANGE): Move(Phase.ESTABLISH, raises=True),
        (Phase.ENFORCE, Event.DISABLE): Move(Phase.RELAX, raises=True),
        (Phase.ENFORCE, Event.ADVANCE): Move(Phase.ENFORCE, raises=False),
        (Phase.ENFORCE, Event.RESTORE): Move(Phase.ENFORCE, raises=True),
        (Phase.RELAX, Event.CHANGE): Move(Phase.PREPARE, raises=True),
        (Phase.RELAX, Event.DISABLE): Move(Phase.RELAX, raises=False),
        (Phase.RELAX, Event.ADVANCE): Move(Phase.OFF, raises=False),
        (Phase.RELAX, Event.RESTORE): Move(Phase.RELAX, raises=True),
        **{(phase, Event.FOLLOW): Move(phase, raises=False) for phase in Phase},
        **{(phase, Event.EASE): Move(phase, raises=True) for phase in Phase},
        **{(phase, Event.TURN): Move(phase, raises=True) for phase in Phase},
    }
)

_OFFWARD = frozenset({Phase.OFF, Phase.RELAX})


@dataclass(frozen=True, slots=True)
class Step:
    """What SB should carry from now on."""

    policy: ClusterPolicy | None
    """None: nothing, since encryption was never asked for or SB belongs to a newer release."""
    event: Event | None = None
    """Why it differs from what SB carries; None if it does not."""
    held: bool = False
    """Whether classes have changed and the consequences are postponed: then no encap is moved
    to another class either."""


def step(
    nb: NbView,
    sb: SbView,
    target: Target,
    census: Census,
    elapsed: Elapsed = JUST_NOW,
) -> Step:
    """Take the next step of the rollout, if one is due.

    Args:
        nb: What was last reported.
        sb: What is published.
        target: What is asked for, as far as it can be applied.
        census: What the chassis report about what is published.
        elapsed: Since when all of this is the case.
    """
    if sb.error is not None and sb.error.key == sb_global.SCHEMA:
        return Step(None)
    if target.doubt is not None and sb.policy is None:
        return Step(None)
    wanted, held = target.policy, False
    if sb.policy is None or (
        target.doubt is None and sb.policy.generation < nb.reported_generation
    ):
        base = _last_known(nb, sb)
        event = _recovery(base, wanted)
        if _is_nothing(nb, sb, base, event):
            return Step(None)
    else:
        base = sb.policy
        due = _stated_event(base, target, census, elapsed)
        if due is None and base.phase not in _OFFWARD:
            due = _rows_event(base, target)
            held = due is not None and elapsed.rows_s < ROWS_EVERY_S
        if held:
            target = replace(target, known=False, weakens=False)
            due = _rows_event(base, target)
        if due is None and is_done(base, _rollout(wanted), census, elapsed):
            due = Event.ADVANCE
        if due is None:
            return Step(base, held=held)
        event = due
    policy = _moved(base, target, event, elapsed.wall_ms)
    if event is Event.TURN and wanted is not None:
        policy = replace(policy, auth=next_auth(base.auth, wanted.auth, census, elapsed))
    return Step(policy, event, held)


def deadline_s(policy: ClusterPolicy | None) -> float | None:
    """Seconds after which a phase ends, whatever the chassis report; None if it has no limit."""
    return None if policy is None else TIMEOUT_S.get(policy.phase)


def next_wait_s(policy: ClusterPolicy | None, elapsed: Elapsed, *, held: bool) -> float:
    """Seconds until the next wait of the rollout ends; 0 if there is none.

    Args:
        policy: What is published.
        elapsed: Since when.
        held: Whether a consequence of changed rows is postponed.
    """
    limit_s = deadline_s(policy)
    waits = (
        0.0 if limit_s is None else limit_s - elapsed.phase_s,
        PATIENCE_S - elapsed.stated_s,
        TURN_S - elapsed.auth_s,
        AUTH_PATIENCE_S - elapsed.auth_s,
        ROWS_EVERY_S - elapsed.rows_s if held else 0.0,
    )
    return min((wait_s for wait_s in waits if wait_s > 0.0), default=0.0)


def is_done(policy: ClusterPolicy, rollout: Rollout, census: Census, elapsed: Elapsed) -> bool:
    """Whether what a phase waits for has happened, or its time is up."""
    limit_s = deadline_s(policy)
    if limit_s is not None:
        return census.acknowledged or elapsed.phase_s >= limit_s
    if policy.phase is not Phase.ESTABLISH or end_mode(policy) is not Mode.REQUIRE:
        return False
    if rollout is Rollout.IMMEDIATE or census.all_up:
        return True
    return elapsed.stated_s >= PATIENCE_S and census.up_but_for_few


def next_auth(
    auth: tuple[Auth, ...], wanted: Auth, census: Census, elapsed: Elapsed
) -> tuple[Auth, ...]:
    """Take the next step from one authentication method to another, if it is due.

    Args:
        auth: What is published: the method in use first, then others that are accepted.
        wanted: The method that should be the only one.
        census: All must be able to use it before any does, and all pairs must be up before the old
            one goes; after a while, all but a few.
        elapsed: Since the step before.
    """
    if wanted not in auth:
        return (auth[0], wanted)
    impatient = elapsed.auth_s >= AUTH_PATIENCE_S
    if auth[0] is not wanted:
        able = census.acknowledged and not census.unable(wanted)
        able |= impatient and census.able_but_for_few(wanted)
        return (wanted, auth[0]) if able else auth
    up = census.acknowledged and census.counts.all_up
    up |= impatient and census.up_but_for_few
    return (wanted,) if up and elapsed.auth_s >= TURN_S else auth


def _rollout(wanted: EncryptionPolicy | None) -> Rollout:
    return Rollout.GATED if wanted is None else wanted.rollout


def _stated_event(
    base: ClusterPolicy, target: Target, census: Census, elapsed: Elapsed
) -> Event | None:
    """What the operator asks for, if it differs from what is published."""
    wanted = target.policy
    if wanted is None:
        return None
    if not wanted.enabled:
        return None if base.phase in _OFFWARD else Event.DISABLE
    if base.phase in _OFFWARD or _stated(base, target) != base:
        return Event.CHANGE
    turned = next_auth(base.auth, wanted.auth, census, elapsed) != base.auth
    return Event.TURN if turned else None


def _rows_event(base: ClusterPolicy, target: Target) -> Event | None:
    """What follows from the existing chassis, if it differs from what is published."""
    if target.weakens:
        return Event.EASE
    return Event.FOLLOW if _with_target(base, target, base.phase) != base else None


def _stated(base: ClusterPolicy, target: Target) -> ClusterPolicy:
    """The part that the operator states: a different one is a new generation."""
    wanted = target.policy
    if wanted is None or not wanted.enabled:
        return base
    return replace(
        base,
        default=wanted.mode,
        profile=wanted.profile,
        auth=(wanted.auth,) if base.phase in _OFFWARD else base.auth,
        tuning=wanted.tuning,
        rules=target.texts,
    )


def _with_target(base: ClusterPolicy, target: Target, phase: Phase) -> ClusterPolicy:
    """The part that follows from it and from the existing chassis.

    VNIs are closed after the pairs: what was clear may stay so until it is up.
    """
    if target.authorities is not None:
        base = replace(base, authorities=target.authorities)
    if target.origin is not None:
        base = replace(base, origin=target.origin)
    if target.quarantine is not None:
        base = replace(base, quarantine=target.quarantine, revoked=target.revoked)
    if not target.known:
        return base
    vnis = target.vnis if phase is Phase.ENFORCE else base.vnis & target.vnis
    floor = base.default if target.floor is None else target.floor
    return replace(base, floor=floor, pairs=target.pairs, vnis=vnis)


def _moved(base: ClusterPolicy, target: Target, event: Event, wall_ms: int) -> ClusterPolicy:
    move = TRANSITIONS[base.phase, event]
    generation = next_generation(base.generation, wall_ms) if move.raises else base.generation
    policy = replace(base, phase=move.phase, generation=generation)
    if move.phase is Phase.OFF:
        nothing = NO_POLICY
        return replace(
            policy,
            default=Mode.OFF,
            floor=Mode.OFF,
            profile=nothing.profile,
            pairs=nothing.pairs,
            rules=(),
            vnis=frozenset(),
            quarantine=frozenset(),
        )
    if move.phase is Phase.RELAX:
        return replace(policy, vnis=frozenset())
    stated = replace(_stated(base, target), phase=policy.phase, generation=policy.generation)
    return _with_target(stated, target, move.phase)


def _last_known(nb: NbView, sb: SbView) -> ClusterPolicy:
    """The policy that was in force before SB lost it, as far as NB's report and SB can tell."""
    stored = sb.policy or NO_POLICY
    reported = nb.reported_phase
    if reported is None:
        blank = sb.error is None and not nb.reported_generation
        reported = Phase.OFF if blank else Phase.ESTABLISH
    phase = max(reported, stored.phase, key=PROTECTION.index)
    mode = stored.default
    if mode is Mode.OFF and phase is not Phase.OFF:
        mode = Mode.REQUIRE if phase is Phase.ENFORCE else Mode.PREFER
    generation = max(nb.reported_generation, stored.generation, sb.readable_generation)
    return replace(stored, generation=generation, phase=phase, default=mode, floor=mode)


def _is_nothing(nb: NbView, sb: SbView, base: ClusterPolicy, event: Event) -> bool:
    """Whether neither database knows a policy: chassis with one got it from other databases."""
    if sb.policy is not None:
        return False
    if event is Event.DISABLE and sb.error is None and not nb.reported_generation:
        return True
    return base.phase is Phase.OFF and event is Event.RESTORE


def _recovery(base: ClusterPolicy, wanted: EncryptionPolicy | None) -> Event:
    if wanted is None:
        return Event.RESTORE
    if not wanted.enabled:
        return Event.RESTORE if base.phase in _OFFWARD else Event.DISABLE
    weaker = wanted.mode is not Mode.REQUIRE and base.phase is Phase.ENFORCE
    return Event.CHANGE if weaker or base.phase in _OFFWARD else Event.RESTORE
