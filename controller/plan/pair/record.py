# SPDX-License-Identifier: Apache-2.0
"""Pure: what is remembered of one pair, and what a decision about it consists of."""

from __future__ import annotations

from dataclasses import dataclass, field

from ovn_ipsec.model.chassis import Pair
from ovn_ipsec.model.policy import Mode, Profile
from ovn_ipsec.model.status import PairState

from ..connection import ConnName
from ..pace import Kind
from . import lineage
from .attempts import Attempts
from .facts import ConnSeen
from .replacement import Replacement
from .steps import Step


def still_missing(before: ConnSeen, seen: ConnSeen) -> frozenset[str]:
    """Tell which children an audit's finding still applies to.

    The audit saw the CHILD_SAs of its time. A child with a newer CHILD_SA is repaired, or will be
    found again; acting on the old finding would replace an SA that nothing is wrong with.
    """
    newest = [{child.name: child.id for child in one.children()} for one in (before, seen)]
    return frozenset(name for name in seen.missing if newest[0].get(name) == newest[1].get(name))


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
    """Clear text does not leave, and will not until the pair is opened."""
    accept_until: float = float("-inf")
    """Until when a closed pair accepts clear text: the peer switches later."""
    send_from: float = float("-inf")
    """When clear text may leave again after relax: by then the peer accepts it."""
    closes_at: float | None = None
    """When a pair that was clear and is now required is closed; None: as soon as policy says."""
    up_at: float | None = None
    """Since when both CHILD_SAs are up."""
    known_before: frozenset[int] | None = None
    """IKE_SAs from before encryption of the pair was wanted; None: not determined yet."""
    look_at: float | None = None
    """When to read the counters of a pair that is switching to ESP."""
    since: float = 0.0
    """When the state began, monotonic seconds."""
    gone_at: float | None = None
    down_at: float | None = None
    """Since when a wanted pair is not up."""
    attempts: Attempts = field(default_factory=Attempts)
    """Attempts to bring a child up."""
    repaired_at: float = float("-inf")
    quarantined: bool = False
    """One of the two chassis is in quarantine."""
    replacement: Replacement = field(default_factory=Replacement)
    """Old SAs and their successors."""
    error: str = ""


def settled_mark(record: PairRecord, seen: ConnSeen) -> str:
    """The mark of what all SAs of a pair were made from; empty if it is not up or they differ."""
    return lineage.settled_mark(record.replacement.lineage, seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The next record of the pair, the steps to apply, and when to decide again."""

    record: PairRecord | None
    """None: forget the pair once the steps have been applied."""
    steps: tuple[Step, ...] = ()
    wake_at: float | None = None
    took: Kind | None = None
    """The slot that was taken from the pacing: the next pair gets a later one."""
    knock: bool = False
    """Whether to send one empty datagram to the peer's tunnel port, over ESP, once the guard is in
    its wanted state, so that the peer hears that this end has switched."""
    mark: str = ""
    """What all SAs of the pair were made from (``settled_mark``), to be kept across a restart."""
