# SPDX-License-Identifier: Apache-2.0
"""Pure: what the SAs of a pair were made from, and which of them are to be replaced.

A CHILD_SA is **outdated** when it was made from other settings than those that shall be, when its
IKE_SA was authenticated with another proof or in a way that is not accepted any more, when it has
another cipher suite than the pair's profile, or when the peer has begun to replace it (``superseded
by``, below). All others are **current**. What is not known of an SA counts as what was loaded when
it was first seen.

The daemon makes a new IKE_SA only for a configuration that no IKE_SA of its own has, and takes up
an old one otherwise. Four times an IKE_SA has to be made from settings that one was made from
already; then the **epoch** sets the two configurations apart (`epoch`):

- *superseded by* the peer: it has replaced its own part, of which we know nothing else;
- *answered early*: the peer takes what we made a moment before our own replacement for our answer
  to its own, so we make what we send over once more, and it follows that;
- *inherited*: an earlier life of this program has begun, and what it had loaded is not known;
- *shadowed*: a configuration came back while what was made from the other one is younger. Both ends
  send over the youngest, and it could not be taken down without a loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ovn_ipsec.model.policy import Profile

from ..connection import IN, OUT, ConnConfig, IkeSa, installed, installed_children, profile_of
from .facts import ConnSeen

FOLLOW_S = 15.0
"""How old what we send over must be for the peer's replacement of its part to make us follow: by
then both have retired what was replaced before, so that two ends do not follow each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What is remembered of how the SAs of a pair came about, between two looks."""

    made: frozenset[tuple[int, str]] = frozenset()
    """CHILD_SAs, and the mark of the settings that were in force when they came."""
    born: frozenset[tuple[int, float]] = frozenset()
    """CHILD_SAs, and since when they are there, monotonic seconds."""
    proved: frozenset[tuple[int, tuple[str, ...]]] = frozenset()
    """IKE_SAs, and the marks of what they were authenticated with: of the proof that was in use
    when they came, and of the one that belongs to the way that the peer has chosen."""
    outdated: frozenset[int] = frozenset()
    """CHILD_SAs that are to be replaced."""
    superseded_by: int = 0
    """The IKE_SA of the peer's that made us replace our part, too, while it is there; else 0."""
    answered_early: int = 0
    """The IKE_SA of the peer's that we have answered with what we have replaced since, while it is
    there; else 0."""
    inherited: int = 0
    """The youngest outdated IKE_SA that an earlier life of this program has left, while it is
    there; else 0."""
    shadowing: int = 0
    """The outdated IKE_SA that we send over beside older ones that are not, while it is there; else
    0. They are to be replaced with it."""


def trace(
    lineage: Lineage, seen: ConnSeen, config: ConnConfig | None, profile: Profile, now: float
) -> tuple[Lineage, float | None]:
    """Tell the CHILD_SAs of the configuration that shall be from those of another one.

    One that the peer has begun in the way that shall be used is none of another, though it came
    while we still used the other way; one of a way that is not accepted any more is, whenever it
    came. And a configuration that comes back finds its own SAs, where they are the youngest. What
    nothing is known of counts as made now.

    Args:
        lineage: What this said the last time.
        seen: The SAs, and what was loaded.
        config: What shall be; None: that is not known, and nothing new is outdated.
        profile: The pair's.
        now: Monotonic seconds.

    Returns:
        What is known now, and when to ask again; None: only when something has changed.
    """
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
    """Tell which of several equal configurations shall be: the daemon makes an IKE_SA for each."""
    current = (c for c in seen.children() if c.id not in lineage.outdated)
    if lineage.answered_early and any(child.name == OUT for child in current):
        return lineage.answered_early
    # Negative, so that an IKE_SA that is two of the three stands for two configurations.
    return lineage.superseded_by or -max(lineage.inherited, lineage.shadowing)


def settled_mark(lineage: Lineage, seen: ConnSeen) -> str:
    """What all SAs of a pair were made from; empty while it is not up or they differ.

    Kept over a restart, it tells which SAs a credential that was replaced meanwhile leaves behind.
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
    """CHILD_SAs that another profile made, whoever remembers that: they say so themselves."""
    return frozenset(
        child.id
        for sa in seen.sas
        if profile_of(sa) not in (None, profile)
        for child in sa.children
    )


def superseded_by(
    lineage: Lineage, seen: ConnSeen, outdated: frozenset[int], now: float
) -> tuple[int, float | None]:
    """Tell which IKE_SA the peer has begun to replace what it sends over, if it has.

    Its own part was replaced, of which we know nothing else: there is a younger IKE_SA over which
    it only sends. What we send over is ours to make anew, but not at once if it is young.

    Args:
        lineage: What this said the last time, and since when there are CHILD_SAs.
        seen: The SAs.
        outdated: CHILD_SAs that are to be replaced anyway.
        now: Monotonic seconds.

    Returns:
        Its id, for as long as it is there; all that is older is to be replaced. 0: there is none.
        And when to ask again; None: only when something has changed.
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
    """Tell which beginning of the peer's we have answered with what we have replaced since, if any.

    It takes what we make now for our answer. To see that there is more to follow, it has to see us
    make what we send over once again.

    Args:
        known: What this said the last time.
        seen: The SAs.
        outdated: CHILD_SAs made from something else than what shall be.

    Returns:
        The id of its IKE_SA, for as long as it is there. 0: there is none.
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
    """Tell which IKE_SA to be replaced an earlier life of this program has left, if any.

    What it was made from is not known: it may be the very configuration that shall be, loaded a
    moment before the end. The daemon would take it up instead of making another one.

    Args:
        known: What this said the last time.
        seen: The SAs, and whether this life has loaded a configuration.
        outdated: CHILD_SAs that are to be replaced.

    Returns:
        The id of the youngest, for as long as it is there. 0: there is none.
    """
    old = [sa.id for sa in seen.sas if any(child.id in outdated for child in sa.children)]
    if old and not seen.config:
        return max(old)
    return known if any(sa.id == known for sa in seen.sas) else 0


def shadowing(known: int, seen: ConnSeen, outdated: frozenset[int]) -> int:
    """Tell which outdated IKE_SA we send over, beside older ones that are current.

    Args:
        known: What this said the last time.
        seen: The SAs.
        outdated: CHILD_SAs made from something else than what shall be.

    Returns:
        Its id, for as long as it is there. 0: there is none.
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
