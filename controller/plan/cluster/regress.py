# SPDX-License-Identifier: Apache-2.0
"""Pure: whether to obey a policy that a southbound states: not an older one that weakens.

A generation never goes backwards. A southbound with an older one than this chassis has obeyed was
restored from a backup, or is another database. It is obeyed if it asks for no less than what is in
force; if it asks for less, it is refused until a newer generation comes. Nothing is switched off
within a generation, so such an order comes from someone who may not give it, and is refused. An
earlier phase of the same generation is obeyed: it opens no pair, and the rollout ends where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import PROTECTION, ClassPair, ClusterPolicy, Phase, Treatment
from ovn_ipsec.policy.across import stated
from ovn_ipsec.schema import sb_global

_PEM_END = "-----END CERTIFICATE-----"


def refuse_regress(kept: ClusterPolicy | None, offered: ClusterPolicy) -> InputError | None:
    """Say why a policy is not obeyed, if so.

    Args:
        kept: What this chassis last obeyed, even before a restart; None: nothing.
        offered: What the southbound states now.

    Returns:
        None if it is obeyed.
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
        reason=f"{why}, which this chassis has obeyed, and weaker ({weaker}): the southbound was"
        " restored or replaced; what was in force stays",
    )


def mark(kept: ClusterPolicy | None, obeyed: ClusterPolicy) -> ClusterPolicy:
    """Return what the next policy is compared with.

    Its generation never goes back: an older one that is obeyed because it weakens nothing does not
    make room for a further one.

    Args:
        kept: What was obeyed before; None: nothing.
        obeyed: What is obeyed now.
    """
    if kept is None:
        return obeyed
    return replace(obeyed, generation=max(kept.generation, obeyed.generation))


def _weakenings(kept: ClusterPolicy, offered: ClusterPolicy) -> Iterator[str]:
    if PROTECTION.index(offered.phase) < PROTECTION.index(kept.phase):
        yield f"phase {offered.phase} after {kept.phase}"
    if _is_off(kept.phase):
        return
    for what, old, new in (
        ("default", kept.default, offered.default),
        ("floor", kept.floor, offered.floor),
        ("profile", kept.profile, offered.profile),
    ):
        if new.strength < old.strength:
            yield f"{what} {new} after {old}"
    known = kept.pairs.keys() | offered.pairs.keys()
    for is_weaker, words in (
        (
            any(_is_less(_treatment(offered, key), _treatment(kept, key)) for key in known),
            "pairs of classes are protected less",
        ),
        (
            offered.tuning.replay_window == 0 != kept.tuning.replay_window,
            "replayed packets are accepted",
        ),
        (_blocks(offered.authorities) - _blocks(kept.authorities), "other authorities are trusted"),
        (
            stated(kept).rules != stated(offered).rules,
            "other rules decide across availability zones",
        ),
        (kept.quarantine - offered.quarantine, "chassis are no longer in quarantine"),
        (kept.vnis - offered.vnis, "networks are no longer protected"),
        (set(offered.auth) - set(kept.auth), "other ways of authentication are accepted"),
    ):
        if is_weaker:
            yield words


def _blocks(bundle: str) -> frozenset[str]:
    """The certificates of a PEM bundle."""
    return frozenset(filter(None, (block.strip() for block in bundle.split(_PEM_END))))


def _is_off(phase: Phase) -> bool:
    return phase in (Phase.OFF, Phase.RELAX)


def _treatment(policy: ClusterPolicy, pair: ClassPair) -> Treatment:
    default = Treatment(mode=policy.default, profile=policy.profile)
    return policy.pairs.get(pair, default)


def _is_less(new: Treatment, old: Treatment) -> bool:
    return new.mode.strength < old.mode.strength or new.profile.strength < old.profile.strength
