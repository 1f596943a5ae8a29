# SPDX-License-Identifier: Apache-2.0
"""The table of the replacement of SAs: it is total, every entry is reached, and what it says."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.plan.connection import ChildSa, IkeSa
from controller.plan.pair.facts import NOTHING_SEEN, ConnSeen, Context
from controller.plan.pair.lineage import Lineage
from controller.plan.pair.replacement import (
    TABLE,
    Ending,
    Replacement,
    Role,
    Since,
    Stage,
    advance,
    ending,
    making,
    retire,
    stage_of,
)
from controller.plan.pair.steps import TerminateIke
from ovn_ipsec.model.policy import Phase
from tests.contracts.ike_backend import config
from tests.worlds import A

NAME = config().name
LATE = 1000.0
ENTRIES = list(itertools.product(Stage, Role))
CONTEXT = Context(phase=Phase.ENFORCE, now=LATE, this_chassis=A)

CHILDREN = st.lists(
    st.tuples(st.sampled_from(["out", "in"]), st.sampled_from(["INSTALLED", "DELETING"])),
    max_size=3,
)
SAS = st.lists(st.tuples(CHILDREN, st.booleans()), max_size=3)


def world(sas: list[tuple[list[tuple[str, str]], bool]], *, orphaned: bool = False) -> ConnSeen:
    """SAs with their children, numbered as they come: IKE_SAs in hundreds."""
    found = tuple(
        IkeSa(
            conn=NAME,
            id=number * 100,
            state="ESTABLISHED",
            initiator=mine,
            initiator_spi=number,
            children=tuple(
                ChildSa(name=name, id=number * 100 + i, state=state, reqid=1, spi_in=i, spi_out=i)
                for i, (name, state) in enumerate(children)
            ),
        )
        for number, (children, mine) in enumerate(sas, 1)
    )
    return ConnSeen(sas=found, orphaned=orphaned)


def up(*names: str) -> list[tuple[str, str]]:
    return [(name, "INSTALLED") for name in names]


BOTH = up("out", "in")
STAGES: dict[Stage, tuple[ConnSeen, Lineage]] = {
    Stage.DOWN: (NOTHING_SEEN, Lineage()),
    Stage.OUT_ALONE: (world([(up("out"), True)]), Lineage()),
    Stage.IN_ALONE: (world([(up("in"), False)]), Lineage()),
    Stage.SETTLED: (world([(BOTH, True)]), Lineage()),
    Stage.DOUBLED: (world([(BOTH, True), (BOTH, False)]), Lineage()),
    Stage.OUTDATED: (world([(BOTH, True)]), Lineage(outdated=frozenset({100, 101}))),
    Stage.OUT_ANEW: (
        world([(BOTH, True), (up("out"), True)]),
        Lineage(outdated=frozenset({100, 101})),
    ),
    Stage.IN_ANEW: (
        world([(BOTH, True), (up("in"), False)]),
        Lineage(outdated=frozenset({100, 101})),
    ),
    Stage.AGAIN_ALONE: (
        world([(BOTH, True), (up("in"), False), (up("out"), True)]),
        Lineage(outdated=frozenset({100, 101, 200}), answered_early=200),
    ),
    Stage.AGAIN: (
        world([(up("in"), False), (up("out"), True), (up("in"), False)]),
        Lineage(outdated=frozenset({100}), answered_early=100),
    ),
    Stage.OVERLAP: (
        world([(BOTH, True), (BOTH, True)]),
        Lineage(outdated=frozenset({100, 101})),
    ),
}
"""One world for each stage."""


def standing(stage: Stage) -> tuple[Replacement, ConnSeen]:
    """A replacement that has been in a stage for a long time, up or down as it follows."""
    seen, lineage = STAGES[stage]
    return advance(Replacement(), lineage, seen, 0.0), seen


def test_the_table_is_total() -> None:
    """Every stage at either end; a wait that a child needs, and none without one."""
    assert set(TABLE) == set(ENTRIES)
    assert set(STAGES) == set(Stage)
    for rule in TABLE.values():
        assert bool(rule.make) == bool(rule.after)
        assert rule.make in ("", "out", "in")


@pytest.mark.parametrize(("stage", "role"), ENTRIES)
def test_every_entry_is_reached_and_does_what_it_says(stage: Stage, role: Role) -> None:
    """What is made and taken down, once the longest wait is over."""
    replacement, seen = standing(stage)
    assert replacement.stage is stage
    rule = TABLE[stage, role]
    made = making(replacement, role, None if seen.up else 0.0, CONTEXT)
    assert rule.make == (made[0] if made else "")
    assert made is None or made[1] <= LATE
    _, steps, wake_at = retire(NAME, replacement, role, seen, LATE)
    assert bool(steps) == (rule.end is not Ending.NOTHING)
    assert wake_at is None


@pytest.mark.parametrize(("stage", "role"), ENTRIES)
def test_every_wait_is_kept_to_the_second(stage: Stage, role: Role) -> None:
    """Not a moment sooner, and from its own beginning on."""
    replacement, seen = standing(stage)
    rule, down_at = TABLE[stage, role], None if seen.up else 0.0
    seconds = {wait.since: wait.seconds for wait in rule.after}
    if down_at is None:
        seconds.pop(Since.DOWN, None)
    else:
        seconds.pop(Since.OUTDATED, None)
    seconds.update(dict.fromkeys(seconds.keys() & {Since.NOW}, LATE))
    made = making(replacement, role, down_at, CONTEXT)
    assert (min(seconds.values()) if seconds else None) == (made[1] if made else None)
    ends = ending(replacement, role, seen, LATE)
    assert (ends is None) == (rule.end is Ending.NOTHING)
    if ends is not None and ends[1] > 0:
        assert () == retire(NAME, replacement, role, seen, ends[1] - 0.1)[1]
        assert () != retire(NAME, replacement, role, seen, ends[1])[1]


def test_what_the_daemon_has_forgotten_counts_as_old() -> None:
    """The kernel still takes in what the peer sends over it."""
    for names, stage in ((up("out"), Stage.OUT_ANEW), (up("in"), Stage.IN_ANEW)):
        assert stage is stage_of(Lineage(), world([(names, True)], orphaned=True))
    assert Stage.DOWN is stage_of(Lineage(), world([], orphaned=True))


def test_a_pair_that_is_half_outdated_and_half_gone_is_down() -> None:
    """There is nothing to carry on with meanwhile."""
    seen = world([(up("in"), True)])
    assert Stage.DOWN is stage_of(Lineage(outdated=frozenset({100})), seen)


def test_what_was_answered_early_and_is_right_again_is_not_answered_once_more() -> None:
    """The configuration has come back: nothing is outdated."""
    assert Stage.SETTLED is stage_of(Lineage(answered_early=100), world([(BOTH, False)]))
    assert Stage.OUT_ALONE is stage_of(Lineage(answered_early=100), world([(up("out"), True)]))


def test_each_beginning_is_remembered_as_long_as_it_holds() -> None:
    """And no longer: two duplicates years apart are two."""
    doubled, _ = STAGES[Stage.DOUBLED]
    first = advance(Replacement(), Lineage(), doubled, 1.0)
    assert 1.0 == advance(first, Lineage(), doubled, 5.0).doubled_at
    old = Lineage(outdated=frozenset({100, 101}))
    overlap = advance(first, old, doubled, 6.0)
    assert (Stage.OVERLAP, 6.0, None) == (overlap.stage, overlap.overlap_at, overlap.doubled_at)
    assert 9.0 == advance(overlap, Lineage(), doubled, 9.0).doubled_at


@pytest.mark.slow
@settings(max_examples=300)
@given(SAS, st.booleans(), st.sets(st.integers(0, 8)), st.integers(0, 3), st.sampled_from(Role))
def test_whatever_is_seen_there_is_one_stage_and_one_entry(
    sas: list[tuple[list[tuple[str, str]], bool]],
    orphaned: bool,
    outdated: set[int],
    early: int,
    role: Role,
) -> None:
    """And nothing that is current is ever taken down, but for a duplicate."""
    seen = world(sas, orphaned=orphaned)
    children = [child for sa in seen.sas for child in sa.children]
    old = frozenset(child.id for i, child in enumerate(children) if i in outdated)
    lineage = Lineage(outdated=old, answered_early=early * 100)
    replacement = advance(Replacement(), lineage, seen, 0.0)
    assert (replacement.stage, role) in TABLE
    made = making(replacement, role, None if seen.up else 0.0, CONTEXT)
    lacking = {"out", "in"} - {c.name for c in seen.children() if c.id not in old}
    assert (
        made is None or made[0] in lacking or replacement.stage in (Stage.AGAIN, Stage.AGAIN_ALONE)
    )
    _, steps, _ = retire(NAME, replacement, role, seen, LATE)
    ended = {step.ike_id for step in steps if isinstance(step, TerminateIke)}
    hit = {c.id for sa in seen.sas if sa.id in ended for c in sa.children}
    assert hit <= old or replacement.stage is Stage.DOUBLED
    kept = {c.name for sa in seen.sas if sa.id not in ended for c in sa.children if c.id not in old}
    assert not steps or kept >= {"out", "in"}
