# SPDX-License-Identifier: Apache-2.0
"""Pure: what a controller reports of itself and its pairs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum

from .policy import Auth, Phase, Profile


class PairState(StrEnum):
    """The state of a pair as seen from one end."""

    CLEAR = "clear"
    """Encryption is not wanted; clear text may pass."""
    PENDING = "pending"
    """Encryption is wanted but not up yet; clear text still passes."""
    BLOCKED = "blocked"
    """Encryption is wanted but not up; clear text is denied."""
    ENCRYPTED = "encrypted"
    """Both CHILD_SAs are installed and clear text is denied."""
    LINGERING = "lingering"
    """The peer's rows are gone; its SAs are kept for a while."""
    QUARANTINED = "quarantined"
    """One of the two chassis is in quarantine: nothing passes, in clear or encrypted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCounts:
    """The number of a chassis' pairs in each state; those in the last two need not be up."""

    clear: int = 0
    pending: int = 0
    blocked: int = 0
    encrypted: int = 0
    lingering: int = 0
    quarantined: int = 0

    @property
    def wanted(self) -> int:
        """Pairs that the policy wants encrypted."""
        return self.pending + self.blocked + self.encrypted

    @property
    def all_up(self) -> bool:
        """Whether all pairs that are wanted encrypted are."""
        return not (self.pending or self.blocked)

    def less(self, others: PairCounts) -> PairCounts:
        """These without others, which are among them; no number is negative."""
        return self._with(others, -1)

    def plus(self, others: PairCounts) -> PairCounts:
        """These and others."""
        return self._with(others, 1)

    def _with(self, others: PairCounts, times: int) -> PairCounts:
        names = [one.name for one in fields(self)]
        sums = {n: getattr(self, n) + times * getattr(others, n) for n in names}
        return PairCounts(**{name: max(0, number) for name, number in sums.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How large packets may be on a chassis, in bytes."""

    underlay: int
    """The MTU of its paths where nothing on the way is smaller; of several local addresses, the
    smallest."""
    inner: int
    """The largest IP packet of a workload that every pair carries in one piece."""
    larger: int = 0
    """Interfaces of workloads that let more than that through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """A chassis' report in its own Chassis_Private row, of the same size in any cluster."""

    generation: int
    """Generation of the cluster policy that the controller has applied."""
    phase: Phase
    """Phase that the controller has applied."""
    counts: PairCounts = field(default_factory=PairCounts)
    across: PairCounts = field(default_factory=PairCounts)
    """Those of them with chassis of other availability zones."""
    agent: str
    """Program, version and IKE daemon, for people."""
    problem: str = ""
    """What is wrong on this chassis, in words; empty if nothing is."""
    warning: str = ""
    """What will become wrong unless someone acts; empty if nothing will."""
    expires: datetime | None = None
    """When the chassis' own certificate expires, UTC."""
    profiles: frozenset[Profile] = frozenset({Profile.DEFAULT})
    """Cipher suites that its IKE daemon can do."""
    auths: frozenset[Auth] = frozenset()
    """Methods with which it could authenticate here and now."""
    room: Room | None = None
    """None: it has no pairs, the kernel does not say, or its release does not report it."""

    @property
    def within(self) -> PairCounts:
        """The number of pairs with chassis of this availability zone."""
        return self.counts.less(self.across)
