# SPDX-License-Identifier: Apache-2.0
"""Pure: what a controller says of itself and its pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from .policy import Auth, Phase, Profile


class PairState(StrEnum):
    """The life of a pair as seen from one end."""

    CLEAR = "clear"
    """Not wanted encrypted; clear text may pass."""
    PENDING = "pending"
    """Wanted, not up yet; clear text still passes."""
    BLOCKED = "blocked"
    """Wanted, not up; clear text is denied."""
    ENCRYPTED = "encrypted"
    """Both CHILD_SAs are installed and clear text is denied."""
    LINGERING = "lingering"
    """The peer's rows are gone; its SAs are kept for a while."""
    QUARANTINED = "quarantined"
    """One of the two is in quarantine: nothing passes, in clear or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCounts:
    """How many pairs of one chassis are in each state; the last two are not wanted up."""

    clear: int = 0
    pending: int = 0
    blocked: int = 0
    encrypted: int = 0
    lingering: int = 0
    quarantined: int = 0

    @property
    def wanted(self) -> int:
        """Pairs that policy wants encrypted."""
        return self.pending + self.blocked + self.encrypted

    @property
    def all_up(self) -> bool:
        """Whether everything wanted is encrypted."""
        return not (self.pending or self.blocked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """One chassis' report in its own Chassis_Private row: the same size at any cluster size."""

    generation: int
    """Generation of the cluster policy that the controller has applied."""
    phase: Phase
    """Phase that the controller has applied."""
    counts: PairCounts = field(default_factory=PairCounts)
    agent: str
    """Program, version and IKE daemon, for people."""
    problem: str = ""
    """What is wrong on this chassis, in words; empty when nothing is."""
    warning: str = ""
    """What will be wrong if nobody does anything; empty when nothing will."""
    expires: datetime | None = None
    """When the chassis' own certificate ends, UTC."""
    profiles: frozenset[Profile] = frozenset({Profile.DEFAULT})
    """Cipher suites that its IKE daemon can do."""
    auths: frozenset[Auth] = frozenset()
    """Ways in which it could prove who it is, here and now."""
