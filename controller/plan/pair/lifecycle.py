# SPDX-License-Identifier: Apache-2.0
"""Pure: the life of one pair: what is demanded of it, which state follows, and what to do next.

A pair is level-triggered. Each pass determines *what is demanded* (from policy, phase, and whether
the peer still has rows) and *whether it is up* (both CHILD_SAs installed); LIFE gives the state.
Only one thing that is remembered affects this: `closed`. Once clear text was denied to a pair,
because it was up or because the policy denied it, only `relax`, `off` or a rule opens it again.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from ovn_ipsec.model.amend import amended
from ovn_ipsec.model.policy import Mode, Phase, Treatment
from ovn_ipsec.model.status import PairState
from ovn_ipsec.policy.judgement import can_do, is_closed, quarantined

from ..cluster.world import PairIntent
from ..connection import ConnConfig, ConnName, established
from ..guard import ClearFlow
from .clear import flows_of
from .evidence import HEARD_S, hears_esp, look_at, takes_esp
from .facts import ConnSeen, Context, initiates
from .lineage import NO_LINEAGE, epoch, trace
from .record import Decision, PairRecord, settled_mark
from .replacement import advance, make_room, retire, role_of
from .steps import Load, Step, TerminateIke, Uninstall, Unload
from .upkeep import initiation, repair, traps

LINGER_S = 60.0
"""How long the SAs of a peer whose rows are gone are kept: ovn-controller restarts in less."""
TEARDOWN_GRACE_S = 5.0
"""How long the passive end waits for the initiator to remove a pair that is no longer wanted."""
SWITCH_OUT_S = 2.0
"""From both CHILD_SAs up until we send ESP: by then the peer has installed its end, too. Sooner
if there is evidence of that."""
SWITCH_IN_S = 12.0
"""From both CHILD_SAs up until we stop accepting clear text: by then the peer sends ESP, too.
Sooner if its ESP was heard."""
RELAX_OUT_S = 3.0
"""From relax until we send clear text again: by then the peer accepts it."""
RELEASE_S = 12.0
"""How long a pair that a rule opens keeps its SAs: by then the peer has switched, too."""
MISSING = "policies or SAs were removed from the kernel by somebody else, of child"
OPEN_MAX_S = 30.0
"""How long a pair that was clear when its class changed under enforce may stay so if not up."""


class Demand(StrEnum):
    """What is demanded of a pair."""

    NONE = "none"
    """Nothing: clear text may pass."""
    OPEN = "open"
    """To be encrypted; clear text may pass until it is."""
    CLOSED = "closed"
    """To be encrypted; clear text is denied."""
    QUARANTINED = "quarantined"
    """One of the two chassis is in quarantine: nothing may pass at all."""
    GONE = "gone"
    """The peer's rows are gone; keep everything as it is."""


LIFE: dict[tuple[Demand, bool], PairState] = {
    (Demand.NONE, False): PairState.CLEAR,
    (Demand.NONE, True): PairState.CLEAR,
    (Demand.OPEN, False): PairState.PENDING,
    (Demand.OPEN, True): PairState.PENDING,
    (Demand.CLOSED, False): PairState.BLOCKED,
    (Demand.CLOSED, True): PairState.ENCRYPTED,
    (Demand.QUARANTINED, False): PairState.QUARANTINED,
    (Demand.QUARANTINED, True): PairState.QUARANTINED,
    (Demand.GONE, False): PairState.LINGERING,
    (Demand.GONE, True): PairState.LINGERING,
}
"""The life cycle: from what is demanded, and whether the pair is up, to its state."""


def demand_of(record: PairRecord, phase: Phase) -> Demand:
    """What is demanded, according to policy, phase and the latch."""
    if record.quarantined:
        return Demand.QUARANTINED
    if record.gone_at is not None:
        return Demand.GONE
    if phase in (Phase.OFF, Phase.RELAX) or record.mode is Mode.OFF:
        return Demand.NONE
    denied = is_closed(phase, record.mode) and record.closes_at is None
    if record.closed or denied:
        return Demand.CLOSED
    return Demand.NONE if phase is Phase.PREPARE else Demand.OPEN


def observe_pair(
    record: PairRecord, intent: PairIntent | None, seen: ConnSeen, context: Context
) -> PairRecord:
    """Bring a record up to date with the policy and with what was seen."""
    now = context.now
    if intent is None:
        gone_at = now if record.gone_at is None else record.gone_at
        record = amended(record, gone_at=gone_at)
    else:
        record = _follow(record, intent, context)
    record = _bar(record, context)
    if any(map(established, seen.sas)):
        record = amended(record, attempts=record.attempts.heard())
    up = (seen.up or seen.orphaned) and record.profile in context.profiles
    up_at, before = None, record.known_before
    if up:
        # SAs from before the phase count from its start: the peer may have to make them again.
        up_at = now if record.up_at is None else max(record.up_at, context.phase_since)
        before = before if record.up_at in (None, up_at) else None
    before = frozenset(sa.id for sa in seen.sas) if before is None else before
    record = _latch(amended(record, up_at=up_at, known_before=before), seen, context)
    demand = demand_of(record, context.phase)
    # What the daemon considers up carries nothing if the kernel lacks a part of it.
    state = LIFE[demand, up and not seen.missing]
    if state is PairState.ENCRYPTED and now < record.accept_until:
        state = PairState.PENDING
    wanted = demand in (Demand.OPEN, Demand.CLOSED)
    down_at = None
    if wanted and not seen.up:
        down_at = now if record.down_at is None else record.down_at
    outdated = record.replacement.lineage.outdated
    if up and seen.up and not outdated & {child.id for child in seen.children()}:
        record = amended(record, attempts=record.attempts.forgotten(), error="")
    if seen.missing:
        record = amended(record, error=f"{MISSING}: {', '.join(sorted(seen.missing))}")
    changing = wanted and seen.up and (not record.closed or now < record.accept_until)
    return amended(
        record,
        state=state,
        since=record.since if state is record.state else now,
        down_at=down_at,
        look_at=look_at(record, seen, now) if changing else None,
    )


def _follow(record: PairRecord, intent: PairIntent, context: Context) -> PairRecord:
    """Apply the policy to the record; a pair that was clear under enforce is not closed at once."""
    closes_at = record.closes_at
    if record.closed or intent.mode is not Mode.REQUIRE:
        closes_at = None
    elif record.mode is not Mode.REQUIRE and context.phase is Phase.ENFORCE:
        closes_at = context.now + OPEN_MAX_S
    elif closes_at is not None and context.now >= closes_at:
        closes_at = None
    if intent.treatment != Treatment(mode=record.mode, profile=record.profile):
        record = amended(record, error="")
    if record.mode is Mode.OFF and intent.mode is not Mode.OFF:
        # SAs may be left from before: the peer still gets its time to switch.
        record = amended(record, up_at=None, known_before=None)
    return amended(
        record,
        gone_at=None,
        pair=intent.pair,
        mode=intent.mode,
        profile=intent.profile,
        csum=intent.csum,
        closes_at=closes_at,
    )


def _bar(record: PairRecord, context: Context) -> PairRecord:
    """Close a pair at once, in both directions, while one of its chassis is in quarantine."""
    ends = (context.this_chassis, record.pair.peer)
    if not quarantined(context.phase, context.quarantine, ends):
        return amended(record, quarantined=False)
    never = float("-inf")
    return amended(
        record, quarantined=True, closed=True, accept_until=never, send_from=never, closes_at=None
    )


def _latch(record: PairRecord, seen: ConnSeen, context: Context) -> PairRecord:
    """Close a pair, or open it again, one direction at a time, so that nothing is lost.

    It goes by evidence if there is some, and otherwise by the time the peer needs to follow.
    """
    now = context.now
    demand = demand_of(record, context.phase)
    lifted = context.phase in (Phase.OFF, Phase.RELAX) or demand is Demand.NONE
    if lifted and record.closed:
        return amended(record, closed=False, accept_until=now, send_from=now + RELAX_OUT_S)
    heard = hears_esp(record, seen)
    if demand is Demand.OPEN and record.up_at is not None:
        sure = heard or takes_esp(record, seen)
        if sure or now >= record.up_at + SWITCH_OUT_S:
            accept_until = record.up_at + SWITCH_IN_S
            record = amended(record, closed=True, accept_until=accept_until)
    elif demand is Demand.CLOSED:
        record = amended(record, closed=True)
    if record.closed and heard:
        return amended(record, accept_until=min(record.accept_until, now + HEARD_S))
    return record


def clear_flows(record: PairRecord, now: float) -> frozenset[ClearFlow]:
    """The directions in which clear text may pass now; none if the peer has no rows."""
    if record.gone_at is not None or record.quarantined:
        return frozenset()
    out, into = flows_of(record)
    if record.closed:
        return frozenset({into}) if now < record.accept_until else frozenset()
    return frozenset({into}) if now < record.send_from else frozenset({out, into})


def changes_over_at(record: PairRecord, now: float) -> float | None:
    """When the next direction of a pair switches, monotonic seconds; None if nothing is due."""
    times = [record.accept_until if record.closed else record.send_from]
    times.extend(time for time in (record.closes_at, record.look_at) if time is not None)
    if not record.closed and record.up_at is not None:
        times.append(record.up_at + SWITCH_OUT_S)
    return min((time for time in times if time > now), default=None)


def decide(
    record: PairRecord,
    intent: PairIntent | None,
    config: ConnConfig | None,
    seen: ConnSeen,
    context: Context,
) -> Decision:
    """Decide what to do for one pair.

    Args:
        record: What is remembered of it.
        intent: What the southbound wants; None when the peer's rows are gone.
        config: The connection as it should be; None if this chassis has no usable credential, or
            if its IKE daemon cannot do it.
        seen: What the IKE daemon and the kernel hold.
        context: Phase, time, pace.

    Returns:
        At most a handful of steps, in the order in which they must be applied.
    """
    record = observe_pair(record, intent, seen, context)
    demand = demand_of(record, context.phase)
    unable = not can_do(record.mode, record.profile, context.profiles)
    if demand is Demand.QUARANTINED:
        decision = _banish(record, seen, context)
    elif demand is Demand.GONE:
        decision = _linger(record, seen, context)
    elif unable and context.phase not in (Phase.OFF, Phase.RELAX):
        decision = _refuse(record, seen)
    elif demand is Demand.NONE:
        decision = _release(record, config, seen, context)
    else:
        decision = _protect(record, config, seen, context)
    times = [decision.wake_at, changes_over_at(record, context.now)]
    wake_at = min((time for time in times if time is not None), default=None)
    kept = decision.record
    mark = "" if kept is None or kept.quarantined else settled_mark(kept, seen)
    knock = demand is Demand.CLOSED and seen.up and context.now < record.accept_until
    return amended(decision, wake_at=wake_at, mark=mark, knock=knock)


def _linger(record: PairRecord, seen: ConnSeen, context: Context) -> Decision:
    since = context.now if record.gone_at is None else record.gone_at
    ends = since + (0.0 if context.phase is Phase.OFF else LINGER_S)
    if context.now < ends:
        return Decision(record=record, wake_at=ends)
    return Decision(record=None, steps=remove_steps(record.name, seen))


def _banish(record: PairRecord, seen: ConnSeen, context: Context) -> Decision:
    """End everything without waiting for the peer to agree: it may never do so."""
    since = record.gone_at
    steps = remove_steps(record.name, seen, force=True)
    if since is not None and context.now >= since + LINGER_S:
        return Decision(record=None, steps=steps)
    known = record.replacement
    lineage = replace(known.lineage, outdated=frozenset())
    attempts, known = record.attempts.forgotten(), replace(known, lineage=lineage)
    fresh = amended(record, error="", attempts=attempts, replacement=known)
    return Decision(record=fresh, steps=steps, wake_at=None if since is None else since + LINGER_S)


def remove_steps(name: ConnName, seen: ConnSeen, *, force: bool = False) -> tuple[Step, ...]:
    """Remove everything of a connection: traps, configuration, then SAs."""
    steps: list[Step] = [Uninstall(name=name, child=child) for child in sorted(seen.traps)]
    if seen.present:
        steps.append(Unload(name=name))
    steps.extend(TerminateIke(name=name, ike_id=sa.id, force=force) for sa in seen.sas)
    return tuple(steps)


def _release(
    record: PairRecord, config: ConnConfig | None, seen: ConnSeen, context: Context
) -> Decision:
    name = record.name
    untraps: list[Step] = [Uninstall(name=name, child=child) for child in sorted(seen.traps)]
    if context.phase is Phase.RELAX:
        return Decision(record=record, steps=tuple(untraps))
    if context.now < record.send_from:
        return Decision(record=record, steps=tuple(untraps), wake_at=record.send_from)
    if context.phase is Phase.PREPARE and record.mode is not Mode.OFF:
        return Decision(record=record, steps=(*untraps, *_load(config, seen)))
    passive = not initiates(context.this_chassis, record.pair.peer)
    ends = record.since + (0.0 if context.phase is Phase.OFF else RELEASE_S)
    if passive:
        ends = max(ends, context.phase_since) + TEARDOWN_GRACE_S
    if seen.sas and context.now < ends:
        return Decision(record=record, steps=tuple(untraps), wake_at=ends)
    return Decision(record=record, steps=remove_steps(name, seen))


def _refuse(record: PairRecord, seen: ConnSeen) -> Decision:
    """Refuse a profile that the IKE daemon cannot do: no weaker one comes up instead.

    SAs from before are kept: they encrypt, though not with the profile that is wanted.
    """
    error = f"the IKE daemon of this chassis cannot do profile {record.profile}"
    steps: list[Step] = [Uninstall(name=record.name, child=child) for child in sorted(seen.traps)]
    if seen.present:
        steps.append(Unload(name=record.name))
    return Decision(record=amended(record, error=error), steps=tuple(steps))


def _load(config: ConnConfig | None, seen: ConnSeen) -> tuple[Step, ...]:
    if config is None or config.fingerprint == seen.config:
        return ()
    return (Load(config=config),)


def _protect(
    record: PairRecord, config: ConnConfig | None, seen: ConnSeen, context: Context
) -> Decision:
    known = record.replacement
    lineage, follow_at = NO_LINEAGE, None
    if not context.abilities.delegated:
        lineage, follow_at = trace(known.lineage, seen, config, record.profile, context.now)
    record = amended(record, replacement=advance(known, lineage, seen, context.now))
    number = epoch(lineage, seen) if context.abilities.beside else 0
    if config is not None and config.epoch != number:
        config = replace(config, epoch=number)
    steps: list[Step] = list(_load(config, seen))
    if steps:
        record = amended(record, attempts=record.attempts.renewed())
    loaded = config is not None or bool(seen.config)
    if loaded and context.abilities.traps:
        steps.extend(traps(record, seen, reinstall=bool(steps)))
    repaired = repair(record, seen, context)
    record = repaired.record or record
    steps.extend(repaired.steps)
    started = initiation(record, loaded, seen, context)
    if started.steps and not context.abilities.beside:
        # The daemon would only add a child to the IKE_SA that has to go.
        steps.extend(make_room(record.name, record.replacement, seen))
    role, name = role_of(context, record.pair.peer), record.name
    known, retired, look_at = retire(name, record.replacement, role, seen, context.now)
    looks = (repaired.wake_at, started.wake_at, look_at, follow_at)
    times = [time for time in looks if time is not None]
    return Decision(
        record=amended(started.record or record, replacement=known),
        steps=(*steps, *started.steps, *retired),
        wake_at=min(times, default=None),
        took=started.took,
    )
