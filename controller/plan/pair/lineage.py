# SPDX-License-Identifier: Apache-2.0
"""Pure: what the SAs of a pair were made from, and which of them have to be replaced.

A CHILD_SA is **outdated** if it was made from settings other than the wanted ones, if its IKE_SA
was authenticated with another proof or with a method that is no longer accepted, if its cipher
suite is not that of the pair's profile, or if the peer has begun to replace it (``superseded by``,
below). All others are **current**. An SA of unknown origin counts as made from what was loaded when
it was first seen.

The daemon makes a new IKE_SA only if no existing one has an equal configuration; otherwise it
reuses the old one. In four cases an IKE_SA has to be made from settings from which one was made
before; then the **epoch** makes the two configurations different (`epoch`):

- *superseded by* the peer: it has replaced its part, and that is all we know;
- *answered early*: the peer takes what we made just before our own replacement for our answer to
  its replacement, so we make what we send over once more, and it follows that;
- *inherited*: this program has restarted, and what its last run had loaded is not known;
- *shadowed*: an earlier configuration is wanted again while SAs made from another one are younger.
  Both ends send over the youngest, which could not be taken down without loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ovn_ipsec.model.policy import Profile

from ..connection import IN, OUT, ConnConfig, IkeSa, installed, installed_children, profile_of
from .facts import ConnSeen

FOLLOW_S = 15.0
"""How old the child that we send over must be before the peer's replacement of its own makes us
follow: by then both ends have retired what was replaced before, so they do not follow each other
for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What is remembered, from one pass to the next, of how the SAs of a pair were made."""

    made: frozenset[tuple[int, str]] = frozenset()
    """CHILD_SAs, each with the mark of the settings in force when it appeared."""
    born: frozenset[tuple[int, float]] = frozenset()
    """CHILD_SAs, each with the time since which it exists, monotonic seconds."""
    proved: frozenset[tuple[int, tuple[str, ...]]] = frozenset()
    """IKE_SAs, each with the marks of what authenticated it: the proof in use when it appeared,
    and the proof that belongs to the method that the peer has chosen."""
    outdated: frozenset[int] = frozenset()
    """CHILD_SAs that have to be replaced."""
    superseded_by: int = 0
    """The peer's IKE_SA that made us replace our part, too, while it exists; else 0."""
    answered_early: int = 0
    """The peer's IKE_SA that we answered with what we have replaced since, while it exists; else
    0."""
    inherited: int = 0
    """The youngest outdated IKE_SA from an earlier run of this program, while it exists; else
    0."""
    shadowing: int = 0
    """The outdated IKE_SA over which we send although older ones are current, while it exists; else
    0. The older ones are replaced along with it."""


NO_LINEAGE = Lineage()


def trace(
    lineage: Lineage, seen: ConnSeen, config: ConnConfig | None, profile: Profile, now: float
) -> tuple[Lineage, float | None]:
    """Tell the CHILD_SAs of the wanted configuration from those of another one.

    An SA that the peer began with the wanted method is not outdated, even if it came while we still
    used another method; one with a method that is no longer accepted is, whenever it came. A
    configuration that is wanted again finds its own SAs, if they are the youngest. An SA of unknown
    origin counts as made now.

    Args:
        lineage: The previous result.
        seen: The SAs, and what was loaded.
        config: The wanted configuration; None if it is not known: then nothing new is outdated.
        profile: The pair's.
        now: Monotonic seconds.

    Returns:
        The new lineage, and when to call this again; None: only when something has changed.
    """
    if not seen.sas and config is not None:
        return NO_LINEAGE, None
    made, proved, born = dict(lineage.made), dict(lineage.proved), dict(lineage.born)
    wanted = config.marks if config is not None else ("", "")
    marks = seen.marks or wanted
    made = {c.id: made.get(c.id) or marks[0] for sa in seen.sas for c in sa.children}
    proved = {sa.id: proved.get(sa.id) or _proofs(sa, marks) for sa in seen.sas}
    born = {c.id: born.get(c.id, now - c.install_s) for sa in seen.sas for c in sa.children}
    lineage = replace(
        lineage,
        made=frozenset(made.items()),
        proved=frozenset(proved.items()),
        born=frozenset(born.items()),
        outdated=lineage.outdated & frozenset(made),
    )
    if config is None:
        return lineage, None
    ways = {proof.auth for proof in config.proofs}
    outdated = frozenset(
        child.id
        for sa in seen.sas
        for child in sa.children
        if made[child.id] != wanted[0] or wanted[1] not in proved[sa.id] or sa.auth not in ways
    )
    outdated |= misfits(profile, seen)
    by, ask_at = superseded_by(lineage, seen, outdated, now)
    early = answered_early(lineage.answered_early, seen, outdated)
    left = inherited(lineage.inherited, seen, outdated)
    shadow = shadowing(lineage.shadowing, seen, outdated)
    younger = max(by, shadow)
    older = frozenset(c.id for sa in seen.sas if sa.id < younger for c in sa.children)
    known = replace(
        lineage,
        outdated=outdated | older,
        superseded_by=by,
        answered_early=early,
        inherited=left,
        shadowing=shadow,
    )
    return known, ask_at


def _proofs(sa: IkeSa, marks: tuple[str, ...]) -> tuple[str, ...]:
    own = (mark for mark in marks if mark.startswith(f"{sa.auth}:"))
    return tuple(dict.fromkeys((marks[1], *own)))


def epoch(lineage: Lineage, seen: ConnSeen) -> int:
    """Tell which of several equal configurations is wanted: the daemon makes an IKE_SA for each."""
    current = (c for c in seen.children() if c.id not in lineage.outdated)
    if lineage.answered_early and any(child.name == OUT for child in current):
        return lineage.answered_early
    # Negative, so that one IKE_SA with two of the three roles stands for two configurations.
    return lineage.superseded_by or -max(lineage.inherited, lineage.shadowing)


def settled_mark(lineage: Lineage, seen: ConnSeen) -> str:
    """The mark of what all SAs of a pair were made from; empty if it is not up or they differ.

    It is kept across a restart, and then tells which SAs were made from a credential that was
    replaced meanwhile.
    """
    if not (seen.up and seen.config and seen.marks):
        return ""
    settings, proof = seen.marks[:2]
    settled = all(mark == settings for _, mark in lineage.made)
    settled = settled and all(proof in marks for _, marks in lineage.proved)
    return f"{settings},{proof}" if settled else ""


def marks_of(settled: str) -> tuple[str, ...]:
    """Undo ``settled_mark``."""
    return tuple(settled.split(",")) if settled else ()


def misfits(profile: Profile, seen: ConnSeen) -> frozenset[int]:
    """CHILD_SAs with another profile; they show it themselves, so nothing has to be remembered."""
    return frozenset(
        child.id
        for sa in seen.sas
        if profile_of(sa) not in (None, profile)
        for child in sa.children
    )


def superseded_by(
    lineage: Lineage, seen: ConnSeen, outdated: frozenset[int], now: float
) -> tuple[int, float | None]:
    """Tell which IKE_SA the peer has begun in order to replace what it sends over, if any.

    The peer has replaced its part, and all we see of it is a younger IKE_SA over which it only
    sends. We have to replace what we send over, but not at once if that is young.

    Args:
        lineage: The previous result, and since when each CHILD_SA exists.
        seen: The SAs.
        outdated: CHILD_SAs that have to be replaced in any case.
        now: Monotonic seconds.

    Returns:
        Its id, for as long as it exists; everything older has to be replaced. 0: there is none.
        And when to call this again; None: only when something has changed.
    """
    current = [
        (sa, c) for sa in seen.sas for c in sa.children if installed(c) and c.id not in outdated
    ]
    begun = (sa.id for sa, _ in current if not sa.initiator and installed_children(sa) == {IN})
    youngest = max(begun, default=0)
    replaced = any(sa.id < youngest and child.name == IN for sa, child in current)
    sent = [(sa.id, child.id) for sa, child in current if child.name == OUT]
    ask_at = None
    if replaced and sent and all(number < youngest for number, _ in sent):
        born = dict(lineage.born)
        follow_at = max(born[number] for _, number in sent) + FOLLOW_S
        if now >= follow_at:
            return youngest, None
        ask_at = follow_at
    known = any(sa.id == lineage.superseded_by for sa in seen.sas)
    return lineage.superseded_by if known else 0, ask_at


def answered_early(known: int, seen: ConnSeen, outdated: frozenset[int]) -> int:
    """Tell which beginning of the peer's we answered with what we have replaced since, if any.

    The peer takes what we make now for our answer. To see that more follows, it has to see us make
    what we send over a second time.

    Args:
        known: The previous result.
        seen: The SAs.
        outdated: CHILD_SAs made from something other than what is wanted.

    Returns:
        The id of its IKE_SA, for as long as it exists. 0: there is none.
    """
    inward = {sa.id: c for sa in seen.sas for c in sa.children if installed(c) and c.name == IN}
    begun = (
        sa.id
        for sa in seen.sas
        if not sa.initiator and installed_children(sa) == {IN} and inward[sa.id].id in outdated
    )
    youngest = max(begun, default=0)
    if youngest > min(inward, default=0):
        return youngest
    return known if any(sa.id == known for sa in seen.sas) else 0


def inherited(known: int, seen: ConnSeen, outdated: frozenset[int]) -> int:
    """Tell which outdated IKE_SA was left by an earlier run of this program, if any.

    What it was made from is not known: possibly the very configuration that is wanted, loaded just
    before that run ended. The daemon would reuse it instead of making another one.

    Args:
        known: The previous result.
        seen: The SAs, and whether this run has loaded a configuration.
        outdated: CHILD_SAs that have to be replaced.

    Returns:
        The id of the youngest, for as long as it exists. 0: there is none.
    """
    old = [sa.id for sa in seen.sas if any(child.id in outdated for child in sa.children)]
    if old and not seen.config:
        return max(old)
    return known if any(sa.id == known for sa in seen.sas) else 0


def shadowing(known: int, seen: ConnSeen, outdated: frozenset[int]) -> int:
    """Tell over which outdated IKE_SA we send although older ones are current.

    Args:
        known: The previous result.
        seen: The SAs.
        outdated: CHILD_SAs made from something other than what is wanted.

    Returns:
        Its id, for as long as it exists. 0: there is none.
    """
    sent = [
        (sa.id, c.id, c.id in outdated)
        for sa in seen.sas
        for c in sa.children
        if installed(c) and c.name == OUT
    ]
    youngest, _, is_outdated = max(sent, default=(0, 0, False))
    if is_outdated and any(not old and number < youngest for number, _, old in sent):
        return youngest
    return known if any(sa.id == known for sa in seen.sas) else 0
