# SPDX-License-Identifier: Apache-2.0
"""Pure: SbView to Census: who follows the policy, who lags and why, and how many pairs are up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ovn_ipsec.model.policy import NO_POLICY, Auth, ClusterPolicy, Mode
from ovn_ipsec.model.status import Digest, PairCounts

from .classify import Assignment
from .views import ChassisFacts, SbView


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """All chassis of this availability zone, counted; every tuple is sorted by chassis name."""

    chassis: int
    ready: int
    """Controllers that have applied this generation and phase."""
    behind: tuple[tuple[str, str], ...]
    """Controllers that have not, and where they are."""
    junk: tuple[str, ...]
    """Chassis whose report does not parse."""
    absent: tuple[str, ...]
    """Chassis without a controller that others have tunnels to: these pairs can never come up."""
    problems: tuple[tuple[str, str], ...]
    """What controllers say is wrong."""
    auths: tuple[tuple[str, frozenset[Auth]], ...] = ()
    """How each chassis with a controller could prove who it is."""
    counts: PairCounts
    """Sum of the reports: a pair between two controllers counts at both ends."""

    @property
    def acknowledged(self) -> bool:
        """Whether every controller has applied this generation and phase."""
        return not self.behind and not self.junk

    def unable(self, auth: Auth) -> tuple[str, ...]:
        """Chassis that lack what this way of authentication needs."""
        return tuple(name for name, able in self.auths if auth not in able)

    @property
    def all_up(self) -> bool:
        """Whether every pair that should be encrypted is."""
        return self.acknowledged and not self.absent and self.counts.all_up


def take_census(
    policy: ClusterPolicy | None, sb: SbView, assignment: Assignment | None = None
) -> Census:
    """Count the chassis against a policy; those of other availability zones are left out.

    Args:
        policy: What is published.
        sb: Who there is.
        assignment: The classes: one without a controller is missed only where a pair of it is of
            the strongest mode that the policy has; None: all are.
    """
    wanted = policy or NO_POLICY
    local = sorted((c for c in sb.chassis.values() if not c.is_remote), key=lambda c: c.name)
    digests = [(c.name, c.digest) for c in local if c.digest is not None]
    behind = tuple((name, _place(d)) for name, d in digests if not _follows(d, wanted))
    return Census(
        chassis=len(local),
        ready=len(digests) - len(behind),
        behind=behind,
        junk=tuple(c.name for c in local if c.digest_error is not None),
        absent=_absent(local, wanted.end_mode, assignment),
        auths=tuple((name, d.auths) for name, d in digests),
        problems=tuple((name, d.problem) for name, d in digests if d.problem),
        counts=_total([d.counts for _, d in digests]),
    )


def _follows(digest: Digest, policy: ClusterPolicy) -> bool:
    return digest.generation == policy.generation and digest.phase is policy.phase


def _place(digest: Digest) -> str:
    return f"at generation {digest.generation} {digest.phase}"


def _absent(
    local: list[ChassisFacts], mode: Mode, assignment: Assignment | None
) -> tuple[str, ...]:
    users = Counter(kind for chassis in local for kind in chassis.types)
    return tuple(
        chassis.name
        for chassis in local
        if chassis.digest is None
        and chassis.digest_error is None
        and any(users[kind] > 1 for kind in chassis.types)
        and not (assignment is not None and assignment.needs_nobody(chassis, mode))
    )


def _total(counts: list[PairCounts]) -> PairCounts:
    return PairCounts(
        clear=sum(c.clear for c in counts),
        pending=sum(c.pending for c in counts),
        blocked=sum(c.blocked for c in counts),
        encrypted=sum(c.encrypted for c in counts),
        lingering=sum(c.lingering for c in counts),
        quarantined=sum(c.quarantined for c in counts),
    )
