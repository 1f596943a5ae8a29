# SPDX-License-Identifier: Apache-2.0
"""Pure: what a decision about a pair depends on, apart from the record that is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Phase, Profile

from ..connection import ABLE, CHILDREN, Abilities, ChildSa, IkeSa, installed
from ..pace import Slots


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnSeen:
    """What the IKE daemon and the kernel hold for one pair."""

    config: str = ""
    """Fingerprint of what we gave this daemon; empty if nothing, or if it was not given by us."""
    marks: tuple[str, ...] = ()
    """ConnConfig.marks of it; if an earlier run of this program loaded it, only the first two, if
    known."""
    present: bool = False
    """Whether the daemon has a connection of this name at all."""
    traps: frozenset[str] = frozenset()
    sas: tuple[IkeSa, ...] = ()
    orphaned: bool = False
    """The kernel protects this pair with SAs that the daemon does not know: it was killed."""
    missing: frozenset[str] = frozenset()
    """Children that are up in the daemon but lack their policy in the kernel."""

    def children(self) -> Iterator[ChildSa]:
        """CHILD_SAs that carry traffic."""
        return (child for sa in self.sas for child in sa.children if installed(child))

    @property
    def up(self) -> bool:
        """Whether both children carry traffic and the daemon knows them."""
        return {child.name for child in self.children()} >= set(CHILDREN)


NOTHING_SEEN = ConnSeen()
NO_WAIT = Slots()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a decision about a pair depends on, apart from the pair."""

    phase: Phase
    now: float
    this_chassis: ChassisName
    recovering: bool = False
    """Our IKE daemon has just come back."""
    daemon_ready: bool = True
    """Whether the IKE daemon can be used."""
    slots: Slots = NO_WAIT
    """When one more initiation of each kind may start."""
    phase_since: float = float("-inf")
    """When the phase began."""
    profiles: frozenset[Profile] = frozenset(Profile)
    """Profiles that the IKE daemon can do; all of them while that is not known."""
    abilities: Abilities = ABLE
    """What the IKE daemon can do."""
    quarantine: frozenset[ChassisName] = frozenset()
    """Chassis in quarantine: no traffic with them at all."""


def initiates(this_chassis: ChassisName, peer: ChassisName) -> bool:
    """Whether this end is the designated initiator, the one with the smaller name."""
    return this_chassis < peer
