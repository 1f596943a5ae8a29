# SPDX-License-Identifier: Apache-2.0
"""Many seeds at once, one process for each processor."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import logs
from .play import play, schedule_of, shrink, told


@dataclass(frozen=True, slots=True)
class Result:
    """How one seed ended."""

    seed: int
    failure: str
    """Told in its least form; empty when all was well."""
    virtual_s: float


def seeds_of(words: Iterable[str]) -> list[int]:
    """Read `7`, `0-299`."""
    found: list[int] = []
    for word in words:
        first, _, last = word.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def try_one(seed: int) -> Result:
    """Play one seed; a failure is cut down to what is needed for it."""
    logs.capture()
    schedule = schedule_of(seed)
    outcome = play(schedule, seed)
    if outcome.violation is None:
        return Result(seed, "", outcome.seconds)
    least = shrink(schedule, seed)
    violation = play(least, seed).violation
    assert violation is not None, "the same schedule ends in the same way"
    return Result(seed, told(least, seed, violation), outcome.seconds)


def try_many(seeds: Iterable[int], workers: int | None = None) -> Iterator[Result]:
    """Play seeds in order."""
    count = workers or os.cpu_count() or 1
    if count == 1:
        yield from map(try_one, seeds)
        return
    with multiprocessing.get_context("fork").Pool(count) as pool:
        yield from pool.imap(try_one, seeds, chunksize=2)
