# SPDX-License-Identifier: Apache-2.0
"""Pure: a Snapshot of this process and of the cluster to samples of METRICS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from ovn_ipsec.model.metric import Kind, Metric, Sample

from .observe.views import DEGRADED, STATE_PHASE
from .rollout.census import Census

ACTIVE = Metric(
    name="ovn_ipsec_northd_active",
    meaning="1 for the ovn-ipsec-northd that decides, 0 for one that is standby or paused; only"
    " the active one has metrics of the cluster.",
)
CONNECTED = Metric(
    name="ovn_ipsec_northd_connected",
    meaning="1 while a database is connected, 0 otherwise.",
    labels=("database",),
)
STATE = Metric(
    name="ovn_ipsec_cluster_state",
    meaning="1 for the state that NB_Global.external_ids:ovn-ipsec-state names, 0 for the others.",
    labels=("state",),
)
IS_DEGRADED = Metric(
    name="ovn_ipsec_cluster_degraded",
    meaning="1 while something that should hold does not, 0 otherwise.",
)
GENERATION = Metric(
    name="ovn_ipsec_cluster_generation",
    meaning="Generation of the cluster's policy.",
)
ERRORS = Metric(
    name="ovn_ipsec_cluster_policy_errors",
    meaning="Keys of the policy that could not be parsed or put into force; meanwhile the last good"
    " policy stays in force.",
)
CHASSIS = Metric(
    name="ovn_ipsec_cluster_chassis",
    meaning="Chassis by their report: of the current generation and phase (ready), of another"
    " (behind), unreadable, in quarantine whatever they report, or none.",
    labels=("report",),
)
LAGGING = Metric(
    name="ovn_ipsec_cluster_chassis_lagging",
    meaning="Chassis that others wait for: behind, unreadable, or without a controller where policy"
    " needs one.",
)
WITH_PROBLEMS = Metric(
    name="ovn_ipsec_cluster_chassis_with_problems",
    meaning="Chassis that report that something is wrong there.",
)
PAIRS = Metric(
    name="ovn_ipsec_cluster_pairs",
    meaning="Pairs in each state, as the chassis report them: each counts at both its ends as far"
    " as these are in this availability zone.",
    labels=("state",),
)
ACROSS = Metric(
    name="ovn_ipsec_cluster_pairs_across_zones",
    meaning="Those of ovn_ipsec_cluster_pairs with chassis of other availability zones, which count"
    " at this end only; no gate waits for them.",
    labels=("state",),
)
FIRST_END = Metric(
    name="ovn_ipsec_cluster_certificate_first_not_after_timestamp_seconds",
    meaning="When the first of the certificates that chassis report expires, in Unix time.",
)
ENDING = Metric(
    name="ovn_ipsec_cluster_certificates_ending",
    meaning="Certificates that expire within that many days or have expired; one that is renewed"
    " automatically counts for a while before it is.",
    labels=("within_days",),
)
SIGNED = Metric(
    name="ovn_ipsec_enrolment_signed_total",
    meaning="Certificates signed since this process started; only with --ca-dir.",
    kind=Kind.COUNTER,
)
REFUSED = Metric(
    name="ovn_ipsec_enrolment_refused",
    meaning="Requests of chassis that are refused now; only with --ca-dir.",
)
USABLE = Metric(
    name="ovn_ipsec_enrolment_authority_usable",
    meaning="1 while the authority's folder can be read and written, 0 otherwise; only with"
    " --ca-dir.",
)
METRICS = (
    ACTIVE,
    CONNECTED,
    STATE,
    IS_DEGRADED,
    GENERATION,
    ERRORS,
    CHASSIS,
    LAGGING,
    WITH_PROBLEMS,
    PAIRS,
    ACROSS,
    FIRST_END,
    ENDING,
    SIGNED,
    REFUSED,
    USABLE,
)
"""In the order of samples()."""
WITHIN_DAYS = (7, 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The active process' latest result."""

    state: str
    """As in NB, with DEGRADED."""
    generation: int
    errors: int
    census: Census


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What this process has signed and what it refuses."""

    signed: int
    refused: int
    usable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """This process at one moment, in immutable values."""

    active: bool
    northbound: bool
    """Whether it is connected; likewise for southbound."""
    southbound: bool
    cluster: Cluster | None
    """None if the process is not active, or has not decided anything yet."""
    authority: Authority | None
    """None if the process signs nothing: without --ca-dir, or not active."""


def samples(seen: Snapshot, now: datetime) -> Iterator[Sample]:
    """Make the samples; there is none for what is not known."""
    yield ACTIVE.at(seen.active)
    yield CONNECTED.at(seen.northbound, "northbound")
    yield CONNECTED.at(seen.southbound, "southbound")
    if seen.cluster is not None:
        yield from _cluster(seen.cluster)
        yield from _ends(seen.cluster.census.ends, now)
    if seen.authority is not None:
        yield SIGNED.at(seen.authority.signed)
        yield REFUSED.at(seen.authority.refused)
        yield USABLE.at(seen.authority.usable)


def _cluster(cluster: Cluster) -> Iterator[Sample]:
    census = cluster.census
    yield from STATE.one_of(STATE_PHASE, cluster.state.removesuffix(DEGRADED))
    yield IS_DEGRADED.at(cluster.state.endswith(DEGRADED))
    yield GENERATION.at(cluster.generation)
    yield ERRORS.at(cluster.errors)
    reports = {"ready": census.ready, "behind": len(census.behind), "unreadable": len(census.junk)}
    reports["quarantined"] = len(census.quarantined)
    reports["none"] = census.chassis - sum(reports.values())
    for report, chassis in reports.items():
        yield CHASSIS.at(chassis, report)
    yield LAGGING.at(len(census.laggards))
    yield WITH_PROBLEMS.at(len(census.problems))
    total = census.counts.plus(census.across)
    for field in fields(total):
        yield PAIRS.at(getattr(total, field.name), field.name)
        yield ACROSS.at(getattr(census.across, field.name), field.name)


def _ends(ends: frozenset[tuple[datetime, int]], now: datetime) -> Iterator[Sample]:
    if ends:
        yield FIRST_END.at(min(end for end, _ in ends).timestamp())
    for days in WITHIN_DAYS:
        limit = now + timedelta(days=days)
        yield ENDING.at(sum(chassis for end, chassis in ends if end < limit), str(days))
