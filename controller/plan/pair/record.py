# SPDX-License-Identifier: Apache-2.0
"""Pure: what is remembered of one pair, and what a decision about it is made of."""

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
    """Tell which children an audit's finding still speaks of.

    It was made of the CHILD_SAs of its time. One that has a successor since is repaired, or will
    be found again; to act on the old finding would replace what nothing is known against.
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
    """Clear text does not leave, and stays so."""
    accept_until: float = float("-inf")
    """Until when a closed pair accepts clear text: the peer changes over later."""
    send_from: float = float("-inf")
    """From when clear text leaves again after relax: the peer accepts it by then."""
    closes_at: float | None = None
    """When a pair is closed that was clear and is required now; None: policy closes at once."""
    up_at: float | None = None
    """Since when both CHILD_SAs are up."""
    known_before: frozenset[int] | None = None
    """IKE_SAs that were there when the pair began to be wanted; None: to be found out."""
    look_at: float | None = None
    """When to read the counters of a pair that changes over."""
    since: float = 0.0
    """When the state began, monotonic seconds."""
    gone_at: float | None = None
    down_at: float | None = None
    """Since when a wanted pair is not up."""
    attempts: Attempts = field(default_factory=Attempts)
    """To bring a child up."""
    repaired_at: float = float("-inf")
    quarantined: bool = False
    """One of the two chassis is in quarantine."""
    replacement: Replacement = field(default_factory=Replacement)
    """Old SAs and their successors."""
    error: str = ""


def settled_mark(record: PairRecord, seen: ConnSeen) -> str:
    """What all SAs of a pair were made from; empty while it is not up or they differ."""
    return lineage.settled_mark(record.replacement.lineage, seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The pair as it is now, what to do, and when to look again."""

    record: PairRecord | None
    """None: forget the pair once the steps are done."""
    steps: tuple[Step, ...] = ()
    wake_at: float | None = None
    took: Kind | None = None
    """Which slot of the pace was taken: the next pair gets a later one."""
    knock: bool = False
    """Whether to send one empty datagram to the peer's tunnel port, once the guard is as it shall
    be: over ESP, so that the peer hears that this end has changed over."""
    mark: str = ""
    """What all SAs of the pair were made from (``settled_mark``), to be kept over a restart."""
