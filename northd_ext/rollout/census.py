# SPDX-License-Identifier: Apache-2.0
"""Pure: which chassis follow the policy, which lag and why, and how many pairs are up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ovn_ipsec.model.policy import NO_POLICY, Auth, ClusterPolicy, Mode, Phase
from ovn_ipsec.model.status import PairCounts
from ovn_ipsec.policy.across import end_mode
from ovn_ipsec.policy.judgement import follows, spared

from ..policy.ledger import Ledger
from .gate import Missing, goes_on


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """All chassis of this availability zone, counted; every tuple is sorted by chassis name."""

    chassis: int
    ready: int
    """Controllers that have applied this generation and phase."""
    behind: tuple[tuple[str, str], ...]
    """Controllers that have not, or that claim to be ahead, and where they are."""
    junk: tuple[str, ...]
    """Chassis whose report does not parse."""
    absent: tuple[str, ...]
    """Chassis without a controller to which others have tunnels: these pairs never come up."""
    problems: tuple[tuple[str, str], ...]
    """Problems that controllers report."""
    warnings: tuple[tuple[str, str], ...] = ()
    """Warnings that controllers report: they do not degrade the state."""
    lacking: Mapping[Auth, tuple[str, ...]] = field(default_factory=dict)
    """Chassis whose controller lacks what an authentication method needs."""
    counts: PairCounts
    """Sum of the reports: a pair between two controllers counts at both ends. Pairs with other
    availability zones are not in it, and no gate waits for them."""
    across: PairCounts = field(default_factory=PairCounts)
    """Those with other availability zones; each counts once."""
    missing: frozenset[Missing] = frozenset()
    """Those that have followed but have pairs that are not up."""
    widest: int = 1
    """The most encaps that any chassis has."""
    quarantined: tuple[str, ...] = ()
    """Chassis in quarantine: they are included in `chassis` and count for nothing else."""
    ends: frozenset[tuple[datetime, int]] = frozenset()
    """When certificates expire, UTC, and on how many chassis."""

    @property
    def acknowledged(self) -> bool:
        """Whether every controller has applied this generation and phase."""
        return not self.behind and not self.junk

    @property
    def laggards(self) -> tuple[tuple[str, str], ...]:
        """Chassis that others wait for, and why; in no particular order."""
        return (
            *((name, "no controller") for name in self.absent),
            *((name, "unreadable report") for name in self.junk),
            *self.behind,
        )

    @property
    def members(self) -> int:
        """Chassis that count."""
        return self.chassis - len(self.quarantined)

    @property
    def up_but_for_few(self) -> bool:
        """Whether a few chassis could account for everything that is not up: see gate."""
        left_out = len({name for name, _ in self.laggards})
        return goes_on(self.members, left_out, self.missing, self.widest)

    def able_but_for_few(self, auth: Auth) -> bool:
        """Whether at most a few do not follow or lack what an authentication method needs."""
        names = {*self.unable(auth), *self.junk, *(name for name, _ in self.behind)}
        return len(names) <= spared(self.members)

    def unable(self, auth: Auth) -> tuple[str, ...]:
        """Chassis that lack what this authentication method needs."""
        return self.lacking.get(auth, ())

    @property
    def all_up(self) -> bool:
        """Whether every pair of this zone that should be encrypted is."""
        return self.acknowledged and not self.absent and self.counts.all_up


def take_census(policy: ClusterPolicy | None, ledger: Ledger) -> Census:
    """Count the chassis against a policy; those of other availability zones are left out.

    Args:
        policy: What is published.
        ledger: The chassis and the classes. One without a controller is missed only if a pair of
            it has the strongest mode in the policy; without classes, every one is.
    """
    wanted = policy or NO_POLICY
    tally = ledger.tally
    words = {
        at: _word(*at, ahead=at[0] > wanted.generation)
        for at in tally.places
        if not follows(at, wanted)
    }
    behind = tally.places.told(words)
    missing = Counter[tuple[int, int]]()
    for claim, chassis in tally.claims.sizes():
        if claim.down and follows(claim.place, wanted):
            missing[claim.down, claim.encaps] += chassis
    return Census(
        chassis=tally.chassis,
        ready=len(tally.places) - len(behind),
        behind=behind,
        junk=tuple(sorted(tally.junk)),
        absent=_absent(ledger, end_mode(wanted)),
        lacking={
            auth: tally.auths.names(able for able in tally.auths if auth not in able)
            for auth in Auth
        },
        problems=tally.problems.told({problem: problem for problem in tally.problems}),
        warnings=tally.warnings.told({warning: warning for warning in tally.warnings}),
        counts=tally.counts,
        across=tally.across,
        missing=frozenset(Missing(*key, chassis) for key, chassis in missing.items()),
        widest=tally.widest,
        quarantined=tuple(sorted(tally.quarantined)),
        ends=tally.ends,
    )


def _word(generation: int, phase: Phase, *, ahead: bool) -> str:
    newer = ", newer than what is in force" if ahead else ""
    return f"at generation {generation} {phase}{newer}"


def _absent(ledger: Ledger, mode: Mode) -> tuple[str, ...]:
    return ledger.unmanaged.names(
        need
        for need in ledger.unmanaged
        if (
            any(ledger.users[kind] > 1 for kind in need.types)
            and not ledger.needs_nobody(need.signatures, mode)
        )
        or ledger.meets_others(need, mode)
    )
