# SPDX-License-Identifier: Apache-2.0
"""Pure: what is seen and remembered of one pair, and what a decision about it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ovn_ipsec.model.chassis import ChassisName, Pair
from ovn_ipsec.model.policy import Mode, Phase, Profile
from ovn_ipsec.model.status import PairState

from .ike import CHILDREN, ChildSa, ConnName, IkeSa, installed
from .steps import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnSeen:
    """What the IKE daemon and the kernel hold for one pair."""

    config: str = ""
    """Fingerprint of what this daemon was given; empty: nothing, or not by us."""
    marks: tuple[str, ...] = ()
    """ConnConfig.marks of that; of what an earlier life of ours has loaded the first two, if known.
    """
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
    profile: Profile = Profile.DEFAULT
    csum: bool | None = None
    state: PairState = PairState.CLEAR
    closed: bool = False
    """Clear text does not leave, and stays so."""
    accept_until: float = float("-inf")
    """Until when a closed pair accepts clear text: the peer changes over later."""
    send_from: float = float("-inf")
    """From when clear text leaves again after relax: the peer accepts it by then."""
    closes_at: float | None = None
    """When a pair is closed that was clear and is required now; None: policy closes at once."""
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
    made: frozenset[tuple[int, str]] = frozenset()
    """CHILD_SAs, and the mark of the settings that were in force when they came."""
    born: frozenset[tuple[int, float]] = frozenset()
    """CHILD_SAs, and since when they are there, monotonic seconds."""
    proved: frozenset[tuple[int, tuple[str, ...]]] = frozenset()
    """IKE_SAs, and the marks of what they were authenticated with: of the proof that was in use
    when they came, and of the one that belongs to the way that the peer has chosen."""
    stale: frozenset[int] = frozenset()
    """CHILD_SAs made from a configuration that was replaced since."""
    followed: int = 0
    """The IKE_SA of the peer's that made us replace our part, too, while it is there; else 0."""
    asks: int = 0
    """The IKE_SA of the peer's that we have answered with what we have replaced since, while it is
    there; else 0."""
    inherited: int = 0
    """The youngest IKE_SA to be replaced that an earlier life of this program has left, while it is
    there; else 0."""
    stale_at: float | None = None
    """Since when there are any, and no successor of one."""
    barred: bool = False
    """One of the two chassis is in quarantine."""
    half_at: float | None = None
    """Since when one child is up and the other is not, of a successor or by the peer alone."""
    fresh_at: float | None = None
    """Since when their successors are up."""
    doubled_at: float | None = None
    error: str = ""


def settled_mark(record: PairRecord, seen: ConnSeen) -> str:
    """What all SAs of a pair were made from; empty while it is not up or they differ.

    Kept over a restart, it tells which SAs a credential that was replaced meanwhile leaves behind.
    """
    if not (seen.up and seen.config):
        return ""
    settings, proof = seen.marks[:2]
    settled = all(mark == settings for _, mark in record.made)
    settled = settled and all(proof in marks for _, marks in record.proved)
    return f"{settings},{proof}" if settled else ""


def marks_of(settled: str) -> tuple[str, ...]:
    """Undo ``settled_mark``."""
    return tuple(settled.split(",")) if settled else ()


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
    profiles: frozenset[Profile] = frozenset(Profile)
    """What the IKE daemon can do; all while that is not known."""
    quarantine: frozenset[ChassisName] = frozenset()
    """Chassis with whom nothing is exchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The pair as it is now, what to do, and when to look again."""

    record: PairRecord | None
    """None: forget the pair once the steps are done."""
    steps: tuple[Step, ...] = ()
    wake_at: float | None = None


def initiates(this_chassis: ChassisName, peer: ChassisName) -> bool:
    """Whether this end is the designated initiator: the smaller name is."""
    return this_chassis < peer
