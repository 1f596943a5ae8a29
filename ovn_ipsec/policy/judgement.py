# SPDX-License-Identifier: Apache-2.0
"""Pure: what a pair of encaps is to be, and who cannot follow: said once, for all programs.

ovn-ipsec-northd judges by this before it publishes a policy, each controller when it decides about
a pair, and the command when it explains or tries one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from ..model.chassis import ChassisName
from ..model.policy import (
    ClassName,
    ClassPair,
    ClusterPolicy,
    Mode,
    Phase,
    Profile,
    Treatment,
    class_pair,
    strongest,
)
from ..schema.encap import EncapIntent

_SHARE = 10
"""One of so many chassis is spared."""


def of_classes(
    pairs: Mapping[ClassPair, Treatment], one: str | None, other: str | None
) -> Treatment | None:
    """What a matrix says of two classes; None where an end has none, or it does not name the two.

    Args:
        pairs: The matrix, as ClusterPolicy.pairs.
        one: Class of one end.
        other: Class of the other end.
    """
    if one is None or other is None:
        return None
    return pairs.get(class_pair(ClassName(one), ClassName(other)))


def treatment_of(policy: ClusterPolicy, one: EncapIntent, other: EncapIntent) -> Treatment:
    """What policy says of two encaps, never below the floor.

    Returns:
        What the matrix says of their classes; where it says nothing, the stronger of both ends'
        modes, a missing key being the default.
    """
    found = of_classes(policy.pairs, one.class_name, other.class_name)
    if found is not None:
        return Treatment(mode=strongest(policy.floor, found.mode), profile=found.profile)
    modes = (one.mode or policy.default, other.mode or policy.default)
    return Treatment(mode=strongest(policy.floor, *modes), profile=policy.profile)


def weakens(old: Mode, new: Mode) -> bool:
    """Whether a pair is less protected by another mode than it was."""
    return new.strength < old.strength


def missed(met: Iterable[Mode], end_mode: Mode) -> bool:
    """Whether others miss the controller of a chassis that has none.

    They do where a pair of it is to be as protected as any is: the cluster is not there before
    that pair is up, which it can never be.

    Args:
        met: How its pairs are to be treated.
        end_mode: ClusterPolicy.end_mode.
    """
    return any(not weakens(end_mode, mode) for mode in met)


def is_closed(phase: Phase, mode: Mode) -> bool:
    """Whether policy denies clear text to a pair, whether or not it is up."""
    return phase is Phase.ENFORCE and mode is Mode.REQUIRE


def quarantined(
    phase: Phase, quarantine: Set[ChassisName], ends: Iterable[ChassisName]
) -> tuple[ChassisName, ...]:
    """Those of the ends of a pair with whom nothing is exchanged now, in their order.

    A quarantine is part of a policy that is in force: `relax` and `off` lift it.
    """
    if phase in (Phase.OFF, Phase.RELAX):
        return ()
    return tuple(name for name in ends if name in quarantine)


def follows(place: tuple[int, Phase], policy: ClusterPolicy) -> bool:
    """Whether a controller has applied what SB carries.

    Args:
        place: The generation and phase that it reports.
        policy: What SB carries.
    """
    return place == (policy.generation, policy.phase)


def can_do(mode: Mode, profile: Profile, able: Set[Profile]) -> bool:
    """Whether a chassis can do what a pair is to be: what is clear needs no cipher suite."""
    return mode is Mode.OFF or profile in able


def lacking(met: Iterable[Treatment], able: Set[Profile]) -> frozenset[Profile]:
    """Cipher suites that pairs need which are treated so, and that a chassis cannot do."""
    return frozenset(one.profile for one in met if not can_do(one.mode, one.profile, able))


def spared(chassis: int) -> int:
    """Without how many of so many chassis a cluster goes on: one's fault is not everybody's."""
    return max(1, chassis // _SHARE)


class Unable(NamedTuple):
    """Chassis, sorted, by the cipher suite that they lack and would have to have."""

    many: dict[Profile, Sequence[str]]
    """So many that the rules cannot be put into force."""
    few: dict[Profile, Sequence[str]]
    """A few, which only lose their own pairs."""


def weigh(names: Mapping[Profile, Sequence[str]], chassis: int) -> Unable:
    """Tell what many chassis cannot do from what only a few cannot.

    Args:
        names: Who lacks what.
        chassis: How many there are in all.
    """
    limit = spared(chassis)
    many = {profile: found for profile, found in names.items() if len(found) > limit}
    return Unable(many, {profile: found for profile, found in names.items() if profile not in many})
