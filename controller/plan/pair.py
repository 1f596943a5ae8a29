# SPDX-License-Identifier: Apache-2.0
"""Pure: the life of one pair: what is demanded of it, what state that makes, and what to do next.

A pair is level-triggered. Each pass asks two questions, *what is demanded* (policy, phase, whether
the peer still has rows) and *is it up* (both CHILD_SAs installed), and LIFE answers with the state.
The only thing remembered that decides is `closed`: once clear text was denied to a pair, because it
was up or because policy denied it, nothing but `relax`, `off` or a rule opens it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from zlib import crc32

from ovn_ipsec.model.chassis import ChassisName, Pair
from ovn_ipsec.model.policy import Mode, Phase
from ovn_ipsec.model.status import PairState

from .guard import ClearFlow, ClearPair
from .ike import CHILDREN, IN, OUT, ChildSa, ConnConfig, ConnName, IkeSa, established, installed
from .steps import (
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
from .world import PairIntent

LINGER_S = 60.0
"""How long a peer whose rows are gone keeps its SAs: a restart of ovn-controller takes less."""
GRACE_S = 30.0
"""How long the passive end waits for the designated initiator (one-way firewalls)."""
RECOVERY_GRACE_S = 3.0
"""The same after our own IKE daemon came back: the peer may not have noticed yet."""
TEARDOWN_GRACE_S = 5.0
"""How long the passive end waits for the initiator to take an unwanted pair down."""
SETTLE_S = 10.0
"""How long two complete IKE_SAs of one pair may stand side by side."""
REPAIR_S = 5.0
"""Between two attempts to put kernel entries of one pair back."""
IN_FLIGHT_S = 5.0
"""Between two looks at an attempt that is under way: its failure may raise no event."""
SWITCH_OUT_S = 2.0
"""From both CHILD_SAs up until we send ESP: by then the peer has installed its end too."""
SWITCH_IN_S = 8.0
"""From then on clear text is not accepted either: by then the peer sends ESP too."""
RELAX_OUT_S = 3.0
"""From relax until we send clear text again: by then the peer accepts it."""
BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


class Demand(StrEnum):
    """What is demanded of a pair."""

    NONE = "none"
    """Nothing: clear text may pass."""
    OPEN = "open"
    """To be encrypted; clear text may pass until it is."""
    CLOSED = "closed"
    """To be encrypted; clear text is denied."""
    GONE = "gone"
    """The peer's rows are gone; hold everything as it is."""


LIFE: dict[tuple[Demand, bool], PairState] = {
    (Demand.NONE, False): PairState.CLEAR,
    (Demand.NONE, True): PairState.CLEAR,
    (Demand.OPEN, False): PairState.PENDING,
    (Demand.OPEN, True): PairState.PENDING,
    (Demand.CLOSED, False): PairState.BLOCKED,
    (Demand.CLOSED, True): PairState.ENCRYPTED,
    (Demand.GONE, False): PairState.LINGERING,
    (Demand.GONE, True): PairState.LINGERING,
}
"""The life cycle: what is demanded, and whether the pair is up, to its state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnSeen:
    """What the IKE daemon and the kernel hold for one pair."""

    config: str = ""
    """Fingerprint of what this daemon was given; empty: nothing, or not by us."""
    present: bool = False
    """Whether the daemon has a connection of this name at all."""
    traps: frozenset[str] = frozenset()
    sas: tuple[IkeSa, ...] = ()
    orphaned: bool = False
    """The kernel protects this pair with SAs that the daemon does not know: it was killed."""
    missing: frozenset[str] = frozenset()
    """Children that are up in the daemon and lack their policy in the kernel."""

    def children(self) -> Iterator[ChildSa]:
        """CHILD_SAs that carry traffic."""
        return (child for sa in self.sas for child in sa.children if installed(child))

    @property
    def up(self) -> bool:
        """Whether both children carry traffic, and the daemon knows it."""
        return {child.name for child in self.children()} >= set(CHILDREN)


NOTHING_SEEN = ConnSeen()


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRecord:
    """What is remembered of a pair between two passes."""

    name: ConnName
    pair: Pair
    mode: Mode = Mode.OFF
    csum: bool | None = None
    state: PairState = PairState.CLEAR
    closed: bool = False
    """Clear text does not leave, and stays so."""
    accept_until: float = float("-inf")
    """Until when a closed pair accepts clear text: the peer changes over later."""
    send_from: float = float("-inf")
    """From when clear text leaves again after relax: the peer accepts it by then."""
    up_at: float | None = None
    """Since when both CHILD_SAs are up."""
    since: float = 0.0
    """When the state began, monotonic seconds."""
    gone_at: float | None = None
    down_at: float | None = None
    """Since when a wanted pair is not up."""
    tried: str = ""
    """The child that was last initiated."""
    attempts: int = 0
    retry_at: float = 0.0
    repaired_at: float = float("-inf")
    stale: frozenset[int] = frozenset()
    """CHILD_SAs made from a configuration that was replaced since."""
    doubled_at: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a decision about a pair depends on besides the pair."""

    phase: Phase
    now: float
    this_chassis: ChassisName
    recovering: bool = False
    """Our IKE daemon came back a moment ago."""
    daemon_ready: bool = True
    """Whether the IKE daemon can be asked anything."""
    may_start: bool = True
    """Whether the pace allows one more initiation now."""
    phase_since: float = float("-inf")
    """When the phase began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The pair as it is now, what to do, and when to look again."""

    record: PairRecord | None
    """None: forget the pair once the steps are done."""
    steps: tuple[Step, ...] = ()
    wake_at: float | None = None


def demand_of(record: PairRecord, phase: Phase) -> Demand:
    """What is demanded, from policy, phase and the latch."""
    if record.gone_at is not None:
        return Demand.GONE
    if phase in (Phase.OFF, Phase.RELAX) or record.mode is Mode.OFF:
        return Demand.NONE
    if record.closed or (phase is Phase.ENFORCE and record.mode is Mode.REQUIRE):
        return Demand.CLOSED
    return Demand.NONE if phase is Phase.PREPARE else Demand.OPEN


def initiates(this_chassis: ChassisName, peer: ChassisName) -> bool:
    """Whether this end is the designated initiator: the smaller name is."""
    return this_chassis < peer


def observe_pair(
    record: PairRecord, intent: PairIntent | None, seen: ConnSeen, context: Context
) -> PairRecord:
    """Bring a record up to date with policy and with what was seen."""
    now = context.now
    if intent is None:
        gone_at = now if record.gone_at is None else record.gone_at
        record = replace(record, gone_at=gone_at)
    else:
        record = replace(record, gone_at=None, pair=intent.pair, mode=intent.mode, csum=intent.csum)
    up = seen.up or seen.orphaned
    up_at = None if not up else now if record.up_at is None else record.up_at
    record = _latch(replace(record, up_at=up_at), context)
    demand = demand_of(record, context.phase)
    state = LIFE[demand, up]
    wanted = demand in (Demand.OPEN, Demand.CLOSED)
    down_at = None
    if wanted and not seen.up:
        down_at = now if record.down_at is None else record.down_at
    if seen.up and not record.stale:
        record = replace(record, attempts=0, retry_at=0.0, tried="", error="")
    since = record.since if state is record.state else now
    return replace(record, state=state, since=since, down_at=down_at)


def _latch(record: PairRecord, context: Context) -> PairRecord:
    """Close a pair, or open it again: one direction at a time, so that nothing is lost."""
    now = context.now
    demand = demand_of(record, context.phase)
    lifted = context.phase in (Phase.OFF, Phase.RELAX) or demand is Demand.NONE
    if lifted and record.closed:
        return replace(record, closed=False, accept_until=now, send_from=now + RELAX_OUT_S)
    if demand is Demand.CLOSED:
        return replace(record, closed=True)
    if demand is Demand.OPEN and record.up_at is not None and now >= record.up_at + SWITCH_OUT_S:
        accept_until = record.up_at + SWITCH_IN_S
        return replace(record, closed=True, accept_until=accept_until)
    return record


def clear_flows(record: PairRecord, now: float) -> frozenset[ClearFlow]:
    """The directions of a pair in which clear text may pass now; none to a peer without rows."""
    if record.gone_at is not None:
        return frozenset()
    pair = record.pair
    out, into = ClearPair(
        local=pair.local, remote=pair.remote, out_port=pair.out_port, in_port=pair.in_port
    ).flows()
    if record.closed:
        return frozenset({into}) if now < record.accept_until else frozenset()
    return frozenset({into}) if now < record.send_from else frozenset({out, into})


def changes_over_at(record: PairRecord, now: float) -> float | None:
    """When the next direction of a pair changes over, monotonic seconds; None: nothing is due."""
    times = [record.accept_until if record.closed else record.send_from]
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
        config: The connection as it shall be; None when this chassis has no usable credential.
        seen: What the IKE daemon and the kernel hold.
        context: Phase, time, pace.

    Returns:
        At most a handful of steps, in the order in which they have to be done.
    """
    record = observe_pair(record, intent, seen, context)
    demand = demand_of(record, context.phase)
    if demand is Demand.GONE:
        decision = _linger(record, seen, context)
    elif demand is Demand.NONE:
        decision = _release(record, config, seen, context)
    else:
        decision = _protect(record, config, seen, context)
    times = [decision.wake_at, changes_over_at(record, context.now)]
    wake_at = min((time for time in times if time is not None), default=None)
    return replace(decision, wake_at=wake_at)


def _linger(record: PairRecord, seen: ConnSeen, context: Context) -> Decision:
    since = context.now if record.gone_at is None else record.gone_at
    ends = since + (0.0 if context.phase is Phase.OFF else LINGER_S)
    if context.now < ends:
        return Decision(record=record, wake_at=ends)
    return Decision(record=None, steps=remove_steps(record.name, seen))


def remove_steps(name: ConnName, seen: ConnSeen) -> tuple[Step, ...]:
    """Take everything of a connection away: traps, configuration, then SAs."""
    steps: list[Step] = [Uninstall(name=name, child=child) for child in sorted(seen.traps)]
    if seen.present:
        steps.append(Unload(name=name))
    steps.extend(TerminateIke(name=name, ike_id=sa.id) for sa in seen.sas)
    return tuple(steps)


def _release(
    record: PairRecord, config: ConnConfig | None, seen: ConnSeen, context: Context
) -> Decision:
    name = record.name
    traps: list[Step] = [Uninstall(name=name, child=child) for child in sorted(seen.traps)]
    if context.phase is Phase.RELAX:
        return Decision(record=record, steps=tuple(traps))
    if context.now < record.send_from:
        return Decision(record=record, steps=tuple(traps), wake_at=record.send_from)
    if context.phase is Phase.PREPARE and record.mode is not Mode.OFF:
        return Decision(record=record, steps=(*traps, *_load(config, seen)))
    ends = max(record.since, context.phase_since) + TEARDOWN_GRACE_S
    passive = not initiates(context.this_chassis, record.pair.peer)
    if passive and seen.sas and context.now < ends:
        return Decision(record=record, steps=tuple(traps), wake_at=ends)
    return Decision(record=record, steps=remove_steps(name, seen))


def _load(config: ConnConfig | None, seen: ConnSeen) -> tuple[Step, ...]:
    if config is None or config.fingerprint == seen.config:
        return ()
    return (Load(config=config),)


def _protect(
    record: PairRecord, config: ConnConfig | None, seen: ConnSeen, context: Context
) -> Decision:
    steps: list[Step] = list(_load(config, seen))
    replaced = bool(steps) and bool(seen.config)
    if replaced:
        record = replace(record, stale=frozenset(child.id for child in seen.children()))
    loaded = config is not None or bool(seen.config)
    if loaded:
        steps.extend(_traps(record, seen, reinstall=bool(steps)))
    record, repairs = _repair(record, seen, context)
    steps.extend(repairs)
    record, started, wake_at = _initiation(record, loaded, seen, context)
    steps.extend(started)
    record, retired, look_at = _retire(record, seen, context)
    steps.extend(retired)
    times = [time for time in (wake_at, look_at) if time is not None]
    return Decision(record=record, steps=tuple(steps), wake_at=min(times, default=None))


def _traps(record: PairRecord, seen: ConnSeen, *, reinstall: bool) -> Iterator[Step]:
    """Traps stand behind SAs that exist; before there are any, the guard alone holds a pair.

    A trap without an SA would make both ends initiate on the first packet, where only one should.
    """
    if not record.closed or not (seen.up or seen.orphaned or seen.traps):
        return
    for child in CHILDREN:
        if reinstall or child not in seen.traps:
            yield Install(name=record.name, child=child)


def _repair(
    record: PairRecord, seen: ConnSeen, context: Context
) -> tuple[PairRecord, tuple[Step, ...]]:
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


def _initiation(
    record: PairRecord, loaded: bool, seen: ConnSeen, context: Context
) -> tuple[PairRecord, tuple[Step, ...], float | None]:
    fresh = {child.name for child in seen.children() if child.id not in record.stale}
    missing = [child for child in CHILDREN if child not in fresh]
    turn = _turn(record, context)
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


def _turn(record: PairRecord, context: Context) -> float | None:
    """From when this end may initiate; None: not while the pair is up."""
    if initiates(context.this_chassis, record.pair.peer):
        return context.now
    if record.down_at is None:
        return None
    return record.down_at + (RECOVERY_GRACE_S if context.recovering else GRACE_S)


def _in_flight(seen: ConnSeen, child: str) -> bool:
    """Whether charon still works on an attempt; it repeats its messages by itself."""
    return any(
        sa.state in ("CREATED", "CONNECTING")
        or any(c.name == child and c.state in ("CREATED", "INSTALLING") for c in sa.children)
        for sa in seen.sas
    )


def _retire(
    record: PairRecord, seen: ConnSeen, context: Context
) -> tuple[PairRecord, tuple[Step, ...], float | None]:
    present = frozenset(child.id for sa in seen.sas for child in sa.children)
    stale = record.stale & present
    record = replace(record, stale=stale)
    if stale:
        fresh = {child.name for child in seen.children() if child.id not in stale}
        if fresh >= set(CHILDREN):
            return record, tuple(_drop_stale(record.name, seen, stale)), None
        return record, (), None
    return _dedupe(record, seen, context)


def _drop_stale(name: ConnName, seen: ConnSeen, stale: frozenset[int]) -> Iterator[Step]:
    for sa in seen.sas:
        old = [child.id for child in sa.children if child.id in stale]
        if old and len(old) == len(sa.children):
            yield TerminateIke(name=name, ike_id=sa.id)
        else:
            yield from (TerminateChild(name=name, child_id=child_id) for child_id in old)


def _complete(sa: IkeSa) -> bool:
    return established(sa) and {c.name for c in sa.children if installed(c)} >= set(CHILDREN)


def _dedupe(
    record: PairRecord, seen: ConnSeen, context: Context
) -> tuple[PairRecord, tuple[Step, ...], float | None]:
    """Keep one IKE_SA where a crossing left several; only the designated initiator decides."""
    complete = [sa for sa in seen.sas if _complete(sa)]
    if len(seen.sas) < 2 or not complete:
        return replace(record, doubled_at=None), (), None
    doubled_at = context.now if record.doubled_at is None else record.doubled_at
    record = replace(record, doubled_at=doubled_at)
    if not initiates(context.this_chassis, record.pair.peer):
        return record, (), None
    if context.now < doubled_at + SETTLE_S:
        return record, (), doubled_at + SETTLE_S
    kept = max(complete, key=lambda sa: (sa.initiator, sa.id))
    steps = tuple(
        TerminateIke(name=record.name, ike_id=sa.id, force=not established(sa))
        for sa in seen.sas
        if sa.id != kept.id
    )
    return replace(record, doubled_at=None), steps, None
