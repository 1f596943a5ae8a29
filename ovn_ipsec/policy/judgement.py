# SPDX-License-Identifier: Apache-2.0
"""Pure: how a pair of encaps is to be treated, and which chassis cannot do that.

This is decided here only: ovn-ipsec-northd uses it before it publishes a policy, each controller
when it decides about a pair, and the command when it explains or tries out a policy.
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
"""One in this many chassis is spared."""


def of_classes(
    pairs: Mapping[ClassPair, Treatment], one: str | None, other: str | None
) -> Treatment | None:
    """What a matrix says of two classes; None if an end has none, or the matrix lacks the two.

    Args:
        pairs: The matrix, as ClusterPolicy.pairs.
        one: Class of one end.
        other: Class of the other end.
    """
    if one is None or other is None:
        return None
    return pairs.get(class_pair(ClassName(one), ClassName(other)))


def treatment_of(policy: ClusterPolicy, one: EncapIntent, other: EncapIntent) -> Treatment:
    """How the policy treats two encaps, never below the floor.

    Returns:
        What the matrix says of their classes; if it says nothing, the stronger of both ends'
        modes, where a missing key means the default.
    """
    found = of_classes(policy.pairs, one.class_name, other.class_name)
    if found is not None:
        return Treatment(mode=strongest(policy.floor, found.mode), profile=found.profile)
    modes = (one.mode or policy.default, other.mode or policy.default)
    return Treatment(mode=strongest(policy.floor, *modes), profile=policy.profile)


def weakens(old: Mode, new: Mode) -> bool:
    """Whether another mode protects a pair less than its old one."""
    return new.strength < old.strength


def missed(met: Iterable[Mode], end_mode: Mode) -> bool:
    """Whether others miss the controller of a chassis that has none.

    They do where a pair of it is to be as protected as any is: the cluster is not there before
    that pair is up, which it can never be.

    Args:
        met: How its pairs are to be treated.
        end_mode: The strongest mode of any pair: see across.end_mode().
    """
    return any(not weakens(end_mode, mode) for mode in met)


def is_closed(phase: Phase, mode: Mode) -> bool:
    """Whether the policy denies clear text to a pair, whether or not it is up."""
    return phase is Phase.ENFORCE and mode is Mode.REQUIRE


def quarantined(
    phase: Phase, quarantine: Set[ChassisName], ends: Iterable[ChassisName]
) -> tuple[ChassisName, ...]:
    """The ends of a pair that are in quarantine now, in their order.

    Quarantine is part of a policy in force: `relax` and `off` lift it.
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
    """Whether a chassis can do what a pair requires: a clear pair needs no cipher suite."""
    return mode is Mode.OFF or profile in able


def lacking(met: Iterable[Treatment], able: Set[Profile]) -> frozenset[Profile]:
    """Cipher suites that pairs with these treatments need and that a chassis cannot do."""
    return frozenset(one.profile for one in met if not can_do(one.mode, one.profile, able))


def spared(chassis: int) -> int:
    """Without how many chassis a cluster of this size goes on: one must not hold up all."""
    return max(1, chassis // _SHARE)


class Unable(NamedTuple):
    """Chassis, sorted, by the cipher suite that they would need and lack."""

    many: dict[Profile, Sequence[str]]
    """So many that the rules cannot be applied."""
    few: dict[Profile, Sequence[str]]
    """A few, which lose only their own pairs."""


def weigh(names: Mapping[Profile, Sequence[str]], chassis: int) -> Unable:
    """Separate what many chassis cannot do from what only a few cannot.

    Args:
        names: The chassis that lack each suite.
        chassis: The number of all chassis.
    """
    limit = spared(chassis)
    many = {profile: found for profile, found in names.items() if len(found) > limit}
    return Unable(many, {profile: found for profile, found in names.items() if profile not in many})
