# SPDX-License-Identifier: Apache-2.0
"""Pure: the pairs of encaps between which OVN makes tunnels, counted without listing them all.

Three thousand chassis make millions of pairs and few kinds of them. Chassis that differ in nothing
that a question asks about are one kind, and pairs of kinds are counted by multiplication.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from typing import Generic, TypeVar

from ..model.chassis import EncapType
from ..schema.encap import Chassis, EncapIntent
from .view import ChassisView

F = TypeVar("F", bound=Hashable)


@dataclass(frozen=True, slots=True)
class End:
    """One encap of one chassis."""

    view: ChassisView
    encap: EncapIntent

    def __str__(self) -> str:
        """As `hv1 10.0.0.1`."""
        return f"{self.view.name} {self.encap.encap.ip}"


Ends = tuple[End, End]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[F]):
    """Pairs that are alike."""

    faces: tuple[F, F]
    """What the question sees of their ends."""
    count: int
    members: tuple[Sequence[ChassisView], Sequence[ChassisView]]
    """The chassis at either end; the same object twice where they are among themselves."""
    encaps: tuple[int, int]
    """Which of usable() of each."""

    def examples(self, limit: int) -> Iterator[Ends]:
        """Some of the pairs, the smaller chassis name first."""
        left, right = self.members
        both = combinations(left, 2) if left is right else product(left, right)
        for one, other in islice(both, limit):
            ends = (
                End(one, usable(one)[self.encaps[0]]),
                End(other, usable(other)[self.encaps[1]]),
            )
            yield ends if one.name <= other.name else (ends[1], ends[0])


def usable(view: ChassisView) -> tuple[EncapIntent, ...]:
    """Encaps whose address no other chassis claims."""
    return tuple(i for i in view.chassis.encaps if i.encap.ip not in view.contested)


def has_tunnels(one: Chassis, other: Chassis) -> bool:
    """Whether ovn-controller of either makes tunnels to the other.

    Source: ovn controller/encaps.c encaps_run, chassis_tzones_overlap. No controller of this
    database runs on an is-remote chassis.
    """
    if one.is_remote or other.is_remote:
        local = other if one.is_remote else one
        if local.is_remote or not local.is_interconn:
            return False
    return bool(one.zones & other.zones) or not (one.zones or other.zones)


def tunnel_type(one: Sequence[EncapIntent], other: Sequence[EncapIntent]) -> EncapType | None:
    """The tunnel type that both ends have and OVN prefers: geneve, then vxlan."""
    ours, theirs = ({intent.encap.type for intent in encaps} for encaps in (one, other))
    return next((kind for kind in EncapType if kind in ours and kind in theirs), None)


def between(one: ChassisView, other: ChassisView) -> tuple[Ends, ...]:
    """Every pair between two chassis, in the order of their encaps."""
    if one.name == other.name or not has_tunnels(one.chassis, other.chassis):
        return ()
    ours, theirs = usable(one), usable(other)
    return tuple((End(one, ours[i]), End(other, theirs[j])) for i, j in _encap_pairs(ours, theirs))


def kinds(
    chassis: Iterable[ChassisView], face: Callable[[ChassisView, EncapIntent], F]
) -> Iterator[Kind[F]]:
    """Group all pairs of a cluster.

    Args:
        chassis: All of them.
        face: What the question sees of an encap; encaps of one face are alike.
    """
    groups: dict[Hashable, _Group[F]] = {}
    for view in chassis:
        encaps = usable(view)
        faces = tuple(face(view, intent) for intent in encaps)
        shape = tuple((i.encap.type, i.encap.ip.version) for i in encaps)
        of = view.chassis
        key = (of.zones, of.is_remote, of.is_interconn, shape, faces)
        groups.setdefault(key, _Group([], encaps, faces)).views.append(view)
    ordered = list(groups.values())
    for index, left in enumerate(ordered):
        for right in ordered[index:]:
            yield from _between_groups(left, right)


@dataclass(frozen=True, slots=True)
class _Group(Generic[F]):
    """Chassis that are alike, with encaps as the first of them has."""

    views: list[ChassisView]
    encaps: tuple[EncapIntent, ...]
    faces: tuple[F, ...]


def _between_groups(left: _Group[F], right: _Group[F]) -> Iterator[Kind[F]]:
    count = len(left.views) * len(right.views)
    if left is right:
        count = len(left.views) * (len(left.views) - 1) // 2
    if not count or not has_tunnels(left.views[0].chassis, right.views[0].chassis):
        return
    for i, j in _encap_pairs(left.encaps, right.encaps):
        yield Kind(
            faces=(left.faces[i], right.faces[j]),
            count=count,
            members=(left.views, right.views),
            encaps=(i, j),
        )


def _encap_pairs(
    ours: Sequence[EncapIntent], theirs: Sequence[EncapIntent]
) -> Iterator[tuple[int, int]]:
    kind = tunnel_type(ours, theirs)
    for (i, one), (j, other) in product(enumerate(ours), enumerate(theirs)):
        same = one.encap.ip.version == other.encap.ip.version
        if kind is not None and one.encap.type == other.encap.type == kind and same:
            yield i, j
