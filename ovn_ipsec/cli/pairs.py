# SPDX-License-Identifier: Apache-2.0
"""Pure: the pairs of encaps between which OVN makes tunnels, counted without listing them all.

Three thousand chassis form millions of pairs, but few kinds of them. Chassis that do not differ in
anything that a question is about are one kind, and pairs of kinds are counted by multiplication.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from typing import Generic, TypeVar

from ..policy import across
from ..policy.pairs import encap_pairs, tunnels_to
from ..schema.encap import Chassis, EncapIntent
from .view import ChassisView

F = TypeVar("F", bound=Hashable)


@dataclass(frozen=True, slots=True)
class End:
    """One encap of one chassis."""

    view: ChassisView
    encap: EncapIntent

    @property
    def contested(self) -> bool:
        """Whether another chassis claims its type and address too."""
        found = self.encap.encap
        return (found.type, found.ip) in self.view.contested

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
    """Which encap of each."""

    def examples(self, limit: int) -> Iterator[Ends]:
        """Some of the pairs, the smaller chassis name first."""
        left, right = self.members
        both = combinations(left, 2) if left is right else product(left, right)
        for one, other in islice(both, limit):
            ends = (_end(one, self.encaps[0]), _end(other, self.encaps[1]))
            yield ends if one.name <= other.name else (ends[1], ends[0])


def has_tunnels(one: Chassis, other: Chassis) -> bool:
    """Whether ovn-controller of either makes tunnels to the other.

    No controller of this database runs on an is-remote chassis.
    """
    ends = ((one, other), (other, one))
    return any(tunnels_to(local, peer) for local, peer in ends if not local.is_remote)


def end_of(end: End) -> across.End:
    """The same without the report of its controller."""
    return across.End(end.view.chassis, end.encap)


def is_across(ends: Ends) -> bool:
    """Whether a pair is with another availability zone."""
    return any(end.view.chassis.is_remote for end in ends)


def between(one: ChassisView, other: ChassisView) -> tuple[Ends, ...]:
    """Every pair between two chassis, in the order of their encaps."""
    if one.name == other.name or not has_tunnels(one.chassis, other.chassis):
        return ()
    return tuple((_end(one, i), _end(other, j)) for i, j in _encap_pairs(one, other))


def _end(view: ChassisView, position: int) -> End:
    return End(view, view.chassis.encaps[position])


def _encap_pairs(one: ChassisView, other: ChassisView) -> Iterator[tuple[int, int]]:
    """Those of encap_pairs() whose addresses no other chassis claims."""
    for i, j in encap_pairs(one.chassis, other.chassis):
        if not _end(one, i).contested and not _end(other, j).contested:
            yield i, j


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """Chassis that OVN would join by tunnels, and whose addresses do not meet."""

    one: Sequence[ChassisView]
    """Chassis that are alike, at least one."""
    other: Sequence[ChassisView]
    """Likewise."""


def fits(one: ChassisView, other: ChassisView) -> bool:
    """Whether there is a pair of encaps wherever OVN makes tunnels between two chassis."""
    if one.name == other.name or not has_tunnels(one.chassis, other.chassis):
        return True
    return any(True for _ in encap_pairs(one.chassis, other.chassis))


def misfits(chassis: Iterable[ChassisView]) -> Iterator[Misfit]:
    """Find the chassis between which there are to be tunnels and can be none.

    Few shapes of encaps are met in a cluster, whatever its transport zones, and most shapes fit: so
    these are compared first, and who is to have tunnels with whom only where they do not.
    """
    shapes: dict[Hashable, dict[Hashable, list[ChassisView]]] = {}
    for view in chassis:
        of = view.chassis
        shape = frozenset((i.encap.type, i.encap.ip.version) for i in of.encaps)
        reach = (of.zones, of.is_remote, of.is_interconn)
        shapes.setdefault(shape, {}).setdefault(reach, []).append(view)
    ordered = [list(groups.values()) for groups in shapes.values()]
    for index, left in enumerate(ordered):
        for right in ordered[index:]:
            if not any(True for _ in encap_pairs(left[0][0].chassis, right[0][0].chassis)):
                one, other = _joined(left, right), _joined(right, left)
                if one and other:
                    yield Misfit(one=one, other=other)


def _joined(
    groups: Sequence[Sequence[ChassisView]], others: Sequence[Sequence[ChassisView]]
) -> list[ChassisView]:
    """Those that are to have tunnels with some of the others."""
    return [
        view
        for group in groups
        if any(_tunnels_between(group, other) for other in others)
        for view in group
    ]


def _tunnels_between(group: Sequence[ChassisView], other: Sequence[ChassisView]) -> bool:
    alone = group is other and len(group) == 1
    return not alone and has_tunnels(group[0].chassis, other[0].chassis)


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
        of = view.chassis
        faces = tuple(face(view, intent) for intent in of.encaps)
        encaps = [intent.encap for intent in of.encaps]
        shape = tuple((e.type, e.ip.version, (e.type, e.ip) in view.contested) for e in encaps)
        key = (of.zones, of.is_remote, of.is_interconn, shape, faces)
        groups.setdefault(key, _Group([], faces)).views.append(view)
    ordered = list(groups.values())
    for index, left in enumerate(ordered):
        for right in ordered[index:]:
            yield from _between_groups(left, right)


@dataclass(frozen=True, slots=True)
class _Group(Generic[F]):
    """Chassis that are alike."""

    views: list[ChassisView]
    faces: tuple[F, ...]


def _between_groups(left: _Group[F], right: _Group[F]) -> Iterator[Kind[F]]:
    count = len(left.views) * len(right.views)
    if left is right:
        count = len(left.views) * (len(left.views) - 1) // 2
    if not count or not has_tunnels(left.views[0].chassis, right.views[0].chassis):
        return
    for i, j in _encap_pairs(left.views[0], right.views[0]):
        yield Kind(
            faces=(left.faces[i], right.faces[j]),
            count=count,
            members=(left.views, right.views),
            encaps=(i, j),
        )
