# SPDX-License-Identifier: Apache-2.0
"""Schedules: made from a seed, played, and cut down to what is needed for the same failure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from tests.fakes.timeline import TimeStandsStillError

from . import steps
from .steps import ACTS, FAULTS, HITLESS, Step, do
from .watch import Violation
from .world import World

SETTLE_S = 8.0
"""From the start until the first step."""
BOUND_S = 400.0
"""After the last fault all is as policy says within this: 30 s until a dead peer is noticed, 165 s
until it is given up, and what the backing off of attempts adds."""
DEAD_S = 260.0
"""Until a peer that does not answer is given up, and somewhat more."""
LOOK_S = 5.0
OPENING = frozenset({"off", "rule", "no_rule", "mode"})
"""Steps after which a pair may be clear again."""
GAPS = (0.3, 1.0, 3.0, 8.0, 20.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a schedule ended."""

    violation: Violation | None
    seconds: float
    """Of virtual time."""
    converged_s: float
    """From the last fault until all was as policy says."""


def schedule_of(seed: int) -> list[Step]:
    """Make a schedule: one in three has hitless steps alone, the others anything."""
    random = Random(seed)
    calm = seed % 3 == 0
    names = sorted(HITLESS if calm else ACTS)
    names = [name for name in names if name != "on"]
    found = [Step(1.0, "on")]
    if random.random() < 0.8:
        found.append(Step(25.0, "backup"))
    for _ in range(random.randint(2, 7)):
        gap = random.choice(GAPS)
        name = random.choice(names)
        if name == "off" and random.random() < 0.6:
            name = "on"
        found.append(Step(gap, name, random.randrange(4), random.randrange(1000)))
    return found


def play(schedule: Sequence[Step], seed: int, hosts: int = 3) -> Outcome:
    """Let a schedule happen, then heal everything and wait for the end."""
    world = World(seed, hosts)
    try:
        return _play(world, schedule)
    except TimeStandsStillError:
        world.watch.violate("work", "time stands still")
        return Outcome(world.watch.violations[0], world.timeline.now, 0.0)
    finally:
        world.close()


def _play(world: World, schedule: Sequence[Step]) -> Outcome:
    watch = world.watch
    alive = world.run(SETTLE_S)
    acts = {step.what for step in schedule}
    watch.hitless = acts <= HITLESS | {"backup"} and not _loses(schedule)
    for step in schedule:
        alive = alive and world.run(step.gap)
        if not alive:
            break
        do(world, step)
    healed = world.timeline.now
    if alive and world.run(1.0):
        alive = _suffer(world, schedule)
        steps.heal(world)
        if alive and world.run(20.0):
            steps.confirm(world)
        healed = world.timeline.now
        _converge(world, healed)
    first = next(iter(watch.violations), None)
    return Outcome(first, world.timeline.now, world.timeline.now - healed)


def _loses(schedule: Sequence[Step]) -> bool:
    """Whether steps that lose nothing one by one do so together.

    What a killed IKE daemon has left takes no clear text until the controller has looked, and of
    two that were killed neither follows the other (docs/explanation/replacement.md). A controller
    that starts without a southbound learns late that a pair is opened, and one that starts while
    all is switched off and on again does not learn of it.
    """
    acts = {step.what for step in schedule}
    opens = bool(acts & OPENING)
    kills = sum(step.what == "kill_charon" for step in schedule)
    starts = bool(acts & {"upgrade", "other_release"})
    blind = starts and bool(acts & {"restart_sb", "off"})
    return kills > 1 or (opens and (kills > 0 or blind))


def _suffer(world: World, schedule: Sequence[Step]) -> bool:
    """Let what has gone wrong take its course; a hostile chassis alone is no reason for it."""
    faults = {step.what for step in schedule if step.what in FAULTS and step.what != "backup"}
    if faults:
        return world.run(60.0)
    if not any(step.what == "hostile" for step in schedule):
        return True
    alive = world.run(DEAD_S)
    unmet = world.watch.unmet_ways()
    if "ovn-ipsec-confirm=" in world.central.nb_global["external_ids"].get("ovn-ipsec-error", ""):
        # The operator is asked, whoever else does what.
        return alive
    if alive and unmet:
        world.watch.violate("converged", f"one chassis is in the way of others: {unmet}")
    return alive and not unmet


def _converge(world: World, since: float) -> None:
    good = 0
    while world.run(LOOK_S):
        unmet = world.watch.unmet()
        good = 0 if unmet else good + 1
        if good >= 3:
            return
        if world.timeline.now > since + BOUND_S:
            world.watch.violate("converged", f"not within {BOUND_S:.0f} s: {unmet}")


def shrink(schedule: Sequence[Step], seed: int, hosts: int = 3) -> list[Step]:
    """Remove what is not needed for a failure of the same kind."""
    found = list(schedule)
    first = play(found, seed, hosts).violation
    assert first is not None

    def fails(some: Sequence[Step]) -> bool:
        violation = play(some, seed, hosts).violation
        return violation is not None and violation.what == first.what

    again = True
    while again:
        again = False
        for index in reversed(range(len(found))):
            fewer = _without(found, index)
            if fails(fewer):
                found, again = fewer, True
    return found


def _without(schedule: Sequence[Step], index: int) -> list[Step]:
    gone, rest = schedule[index], list(schedule[index + 1 :])
    if rest:
        head = rest[0]
        rest[0] = Step(round(head.gap + gone.gap, 3), head.what, head.who, head.number)
    return [*schedule[:index], *rest]


def told(schedule: Iterable[Step], seed: int, violation: Violation) -> str:
    """A failure, so that it can be played again."""
    lines = ",\n    ".join(map(str, schedule))
    return f"seed {seed}: {violation}\nplay([\n    {lines},\n], seed={seed})"
