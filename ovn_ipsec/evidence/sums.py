# SPDX-License-Identifier: Apache-2.0
"""Pure: what the SAs of a pair have carried, from looks at the kernel and from SAs that ended.

The kernel forgets the counters of an SA with the SA. It says them once more when it deletes one;
where nobody heard that, what was last seen of it counts, and the sum is a lower bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from .values import LiveSa, Point, Sums, Tally

T = TypeVar("T", Point, Tally)
_Key = tuple[bool, int, int]


def looked(sums: Sums, found: Iterable[LiveSa]) -> Sums:
    """Take in all SAs of a pair that a look at the kernel has shown.

    One that it does not show may just have ended, and what it came to be on the way; so it counts
    as lost only when the next look does not show it either.
    """
    live = {_key(one): one for one in found if one.packets}
    ended, at_least = sums.ended, sums.at_least
    for one in sums.live:
        if _key(one) in live:
            continue
        if one.missed:
            ended, at_least = ended.plus(one.volume), True
        else:
            live[_key(one)] = replace(one, missed=True)
    return replace(sums, ended=ended, live=tuple(live.values()), at_least=at_least)


def ended(sums: Sums, sa: LiveSa) -> Sums:
    """Take in what an SA came to."""
    live = tuple(one for one in sums.live if _key(one) != _key(sa))
    return replace(sums, ended=sums.ended.plus(sa.volume), live=live)


def thinned(points: tuple[T, ...], growth: float) -> tuple[T, ...]:
    """Drop points such that their distances grow with their age; the first and last two stay.

    Args:
        points: In the order of time.
        growth: A point is dropped if its neighbours are no further apart than the age of the later
            one times this.
    """
    kept = list(points)
    if len(kept) < 4:
        return points
    now = kept[-1].at
    number = 1
    while number + 2 < len(kept):
        near, far = kept[number + 1], kept[number - 1]
        if near.at - far.at <= (now - near.at) * growth:
            del kept[number]
        else:
            number += 1
    return tuple(kept)


def at_or_before(points: tuple[T, ...], when: int) -> T | None:
    """The last point that is not later; None: all are."""
    found = None
    for point in points:
        if point.at > when:
            break
        found = point
    return found


def _key(sa: LiveSa) -> _Key:
    return (sa.out, sa.spi, sa.made_at)
