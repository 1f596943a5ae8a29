# SPDX-License-Identifier: Apache-2.0
"""Pure: whether a policy that a southbound states is obeyed: an older one that weakens is not.

A generation never goes backwards. A southbound with an older one than this chassis has obeyed was
restored from a backup, or is another database. What it says may be obeyed where it asks for no less
than what is in force; where it asks for less, it is refused until a newer generation comes. Within
a generation nobody switches off, so that was written by nobody who may. An earlier phase of it is
obeyed: no pair opens by that, and the rollout ends where it was.
"""

from __future__ import annotations

from collections.abc import Iterator

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import ClassPair, ClusterPolicy, Mode, Phase
from ovn_ipsec.schema import sb_global

_PROTECTION = (Phase.OFF, Phase.RELAX, Phase.PREPARE, Phase.ESTABLISH, Phase.ENFORCE)
"""Phases, the one that protects least first."""


def refuse_regress(kept: ClusterPolicy | None, offered: ClusterPolicy) -> InputError | None:
    """Say why a policy is not obeyed.

    Args:
        kept: What this chassis has obeyed last, also in an earlier life; None: nothing.
        offered: What the southbound says now.

    Returns:
        None when it is obeyed.
    """
    if kept is None or offered.generation > kept.generation:
        return None
    if offered.generation == kept.generation:
        if _is_off(kept.phase) or not _is_off(offered.phase):
            return None
        weaker = f"phase {offered.phase} after {kept.phase}"
        why = f"as old as generation {kept.generation}"
    else:
        weaker = next(_weakenings(kept, offered), "")
        why = f"older than generation {kept.generation}"
    if not weaker:
        return None
    return InputError(
        table=sb_global.TABLE,
        row=".",
        key=sb_global.GENERATION,
        text=str(offered.generation),
        reason=f"{why}, which this chassis has obeyed, and weaker ({weaker}): a restored or another"
        " southbound; what was in force stays",
    )


def _weakenings(kept: ClusterPolicy, offered: ClusterPolicy) -> Iterator[str]:
    if _PROTECTION.index(offered.phase) < _PROTECTION.index(kept.phase):
        yield f"phase {offered.phase} after {kept.phase}"
    if _is_off(kept.phase):
        return
    for what, old, new in (
        ("default", kept.default, offered.default),
        ("floor", kept.floor, offered.floor),
    ):
        if new.strength < old.strength:
            yield f"{what} {new} after {old}"
    if offered.profile.strength < kept.profile.strength:
        yield f"profile {offered.profile} after {kept.profile}"
    known = kept.pairs.keys() | offered.pairs.keys()
    if any(_mode(offered, key).strength < _mode(kept, key).strength for key in known):
        yield "pairs of classes are treated less well"
    if kept.quarantine - offered.quarantine:
        yield "chassis are in quarantine no more"
    if kept.vnis - offered.vnis:
        yield "networks are protected no more"
    if set(offered.auth) - set(kept.auth):
        yield "other ways of authentication are accepted"


def _is_off(phase: Phase) -> bool:
    return phase in (Phase.OFF, Phase.RELAX)


def _mode(policy: ClusterPolicy, pair: ClassPair) -> Mode:
    found = policy.pairs.get(pair)
    return policy.default if found is None else found.mode
