# SPDX-License-Identifier: Apache-2.0
"""Pure: a Snapshot of this chassis to samples of METRICS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime

from ovn_ipsec.model.chassis import Pair
from ovn_ipsec.model.metric import Kind, Metric, Sample
from ovn_ipsec.model.policy import Auth, Phase
from ovn_ipsec.model.status import PairCounts, PairState, Room

from .plan.guard import GuardCounters
from .plan.pair.record import PairRecord

GENERATION = Metric(
    name="ovn_ipsec_generation",
    meaning="Generation of the cluster's policy that this chassis has applied.",
)
PHASE = Metric(
    name="ovn_ipsec_phase",
    meaning="1 for the phase of the rollout that this chassis has applied, 0 for the others.",
    labels=("phase",),
)
PAIRS = Metric(
    name="ovn_ipsec_pairs",
    meaning="Pairs of this chassis in each state.",
    labels=("state",),
)
PAIR = Metric(
    name="ovn_ipsec_pair_state",
    meaning="1 for each pair and the state that it is in; only with --metrics-peers.",
    labels=("peer", "type", "local", "remote", "state"),
)
NOT_BEFORE = Metric(
    name="ovn_ipsec_certificate_not_before_timestamp_seconds",
    meaning="When the chassis' certificate for an authentication method became valid, in Unix"
    " time.",
    labels=("auth",),
)
NOT_AFTER = Metric(
    name="ovn_ipsec_certificate_not_after_timestamp_seconds",
    meaning="When the chassis' certificate for an authentication method expires, in Unix time.",
    labels=("auth",),
)
DENIED = Metric(
    name="ovn_ipsec_guard_denied_packets_total",
    meaning="Clear packets that a layer of the guard has denied; xfrm counts those of all block"
    " policies in its network namespace.",
    kind=Kind.COUNTER,
    labels=("layer", "direction"),
)
CLEAR = Metric(
    name="ovn_ipsec_guard_clear_packets_total",
    meaning="Tunnel packets in clear that a layer of the guard has let through, as their pair may"
    " be clear.",
    kind=Kind.COUNTER,
    labels=("layer", "direction"),
)
PROBLEMS = Metric(
    name="ovn_ipsec_problems",
    meaning="Problems of this chassis, as `ovn-ipsec status` shows them; 0 is healthy.",
)
IKE_UP = Metric(
    name="ovn_ipsec_ike_daemon_up",
    meaning="1 while the IKE daemon answers, 0 otherwise.",
)
INNER_MTU = Metric(
    name="ovn_ipsec_inner_mtu_bytes",
    meaning="The largest IP packet of a workload that every pair of this chassis carries in one"
    " piece, in bytes.",
)
LARGER = Metric(
    name="ovn_ipsec_interfaces_above_inner_mtu",
    meaning="Interfaces of workloads on this chassis with an MTU above"
    " `ovn_ipsec_inner_mtu_bytes`.",
)
PAIR_INNER_MTU = Metric(
    name="ovn_ipsec_pair_inner_mtu_bytes",
    meaning="The largest IP packet of a workload that a pair carries in one piece, in bytes; only"
    " with --metrics-peers.",
    labels=("peer", "type", "local", "remote"),
)
CONNECTED = Metric(
    name="ovn_ipsec_southbound_connected",
    meaning="1 while the southbound database is connected, 0 otherwise.",
)
METRICS = (
    GENERATION,
    PHASE,
    PAIRS,
    PAIR,
    NOT_BEFORE,
    NOT_AFTER,
    DENIED,
    CLEAR,
    PROBLEMS,
    IKE_UP,
    CONNECTED,
    INNER_MTU,
    LARGER,
    PAIR_INNER_MTU,
)
"""In the order of samples()."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """The validity of a certificate, UTC."""

    auth: Auth
    """The authentication method for which it is used."""
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """This chassis at one moment, in immutable values."""

    generation: int
    """The applied one; likewise for phase."""
    phase: Phase
    counts: PairCounts | None
    """None while the chassis has no name, and therefore no pairs."""
    pairs: tuple[tuple[Pair, PairState], ...] = ()
    """Every pair, if that is enabled."""
    certificates: tuple[Validity, ...]
    """Those for the authentication methods that the policy accepts."""
    guard: tuple[tuple[str, GuardCounters | None], ...]
    """By layer; None if the counters cannot be read."""
    problems: int
    ike_up: bool
    connected: bool
    """Whether the southbound is connected."""
    room: Room | None = None
    """None: not known."""
    inner_mtus: tuple[tuple[Pair, int], ...] = ()
    """Of every pair where it is known, if that is enabled."""


def pair_states(records: Iterable[PairRecord]) -> tuple[tuple[Pair, PairState], ...]:
    """Copy the part of every pair that the metric PAIR shows."""
    return tuple((record.pair, record.state) for record in records)


def samples(seen: Snapshot, _now: datetime) -> Iterator[Sample]:
    """Make the samples; there is none for what is not known."""
    yield GENERATION.at(seen.generation)
    yield from PHASE.one_of(Phase, seen.phase)
    if seen.counts is not None:
        for field in fields(seen.counts):
            yield PAIRS.at(getattr(seen.counts, field.name), field.name)
    for pair, state in seen.pairs:
        yield PAIR.at(1, pair.peer, pair.type, str(pair.local), str(pair.remote), state)
    for own in seen.certificates:
        yield NOT_BEFORE.at(own.not_before.timestamp(), own.auth)
        yield NOT_AFTER.at(own.not_after.timestamp(), own.auth)
    for layer, found in seen.guard:
        if found is not None:
            yield from _packets(DENIED, layer, found.in_denied, found.out_denied)
            yield from _packets(CLEAR, layer, found.in_clear, found.out_clear)
    yield PROBLEMS.at(seen.problems)
    yield IKE_UP.at(seen.ike_up)
    yield CONNECTED.at(seen.connected)
    if seen.room is not None:
        yield INNER_MTU.at(seen.room.inner)
        yield LARGER.at(seen.room.larger)
    for pair, inner in seen.inner_mtus:
        yield PAIR_INNER_MTU.at(inner, pair.peer, pair.type, str(pair.local), str(pair.remote))


def _packets(metric: Metric, layer: str, into: int | None, out: int | None) -> Iterator[Sample]:
    for direction, packets in (("in", into), ("out", out)):
        if packets is not None:
            yield metric.at(packets, layer, direction)
