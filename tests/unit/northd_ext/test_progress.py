# SPDX-License-Identifier: Apache-2.0
"""northd_ext.rollout.progress: what the waits of a rollout count from; rows begin none anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf

import pytest

from northd_ext.observe.views import ChassisFacts, NbView, SbView
from northd_ext.policy.ledger import Ledger
from northd_ext.policy.target import Target
from northd_ext.rollout.census import take_census
from northd_ext.rollout.gate import AUTH_PATIENCE_S, PATIENCE_S
from northd_ext.rollout.phases import ROWS_EVERY_S, TURN_S, Event, next_wait_s, step
from northd_ext.rollout.progress import Elapsed, Progress
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import (
    Auth,
    ClassName,
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Phase,
    Treatment,
    class_pair,
)
from ovn_ipsec.model.status import Digest
from ovn_ipsec.schema.nb_global import ParsedPolicy

WALL = datetime(2026, 11, 27, tzinfo=UTC)
WALL_MS = int(WALL.timestamp() * 1000)
AT = ClusterPolicy(
    generation=3, phase=Phase.PREPARE, default=Mode.REQUIRE, floor=Mode.REQUIRE, authorities="P"
)
PAIR = {class_pair(ClassName("a"), ClassName("b")): Treatment(mode=Mode.OFF)}
ASKED = EncryptionPolicy(enabled=True)
NB = NbView(asked=ParsedPolicy(policy=ASKED, errors=()), report={"ovn-ipsec-generation": "3"})


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"generation": 4}, (0.0, 70.0, 70.0, 70.0)),
        ({"generation": 4, "pairs": PAIR}, (0.0, 70.0, 70.0, 70.0)),
        ({"generation": 4, "rules": ("9 any any off",)}, (0.0, 70.0, 0.0, 70.0)),
        ({"generation": 4, "auth": (Auth.PSK, Auth.CA)}, (0.0, 70.0, 70.0, 0.0)),
        ({"phase": Phase.ESTABLISH}, (0.0, 0.0, 0.0, 70.0)),
        ({"quarantine": frozenset({ChassisName("hv1")})}, (70.0, 70.0, 70.0, 70.0)),
    ],
)
def test_each_wait_counts_from_what_it_is_about(
    after: dict[str, object], expected: tuple[float, ...]
) -> None:
    """A generation begins no phase, and one that rows have brought about begins nothing."""
    progress = Progress()
    assert progress.note(AT, 100.0)
    assert not progress.note(AT, 150.0)
    changed = replace(AT, **after)  # type: ignore[arg-type]
    assert progress.note(changed, 170.0) is (expected[0] == 0.0)
    elapsed = progress.elapsed(170.0, WALL)
    assert (elapsed.step_s, elapsed.phase_s, elapsed.stated_s, elapsed.auth_s) == expected
    assert (elapsed.rows_s, elapsed.wall_ms) == (inf, WALL_MS)
    assert progress.policy == changed


def test_nothing_published_is_something_too() -> None:
    """A southbound that lost its policy begins everything anew when it has one again."""
    progress = Progress()
    assert progress.elapsed(1.0, WALL).step_s == 0.0
    assert progress.note(None, 1.0)
    assert progress.note(AT, 2.0)
    progress.note_rows(3.0)
    elapsed = progress.elapsed(4.0, WALL)
    assert (elapsed.phase_s, elapsed.rows_s) == (2.0, 1.0)


def test_next_wait_is_the_first_that_is_not_over() -> None:
    """Whoever sleeps until then misses none."""
    over = Elapsed(step_s=1e9, phase_s=1e9, stated_s=1e9, auth_s=1e9, rows_s=0.25)
    assert next_wait_s(AT, over, held=False) == 0.0
    assert next_wait_s(AT, over, held=True) == ROWS_EVERY_S - 0.25
    assert next_wait_s(AT, replace(over, phase_s=59.0), held=False) == 1.0
    assert next_wait_s(None, replace(over, phase_s=59.0), held=False) == 0.0
    assert next_wait_s(None, replace(over, stated_s=1.0), held=False) == PATIENCE_S - 1.0
    assert next_wait_s(None, replace(over, auth_s=1.0), held=False) == TURN_S - 1.0
    assert next_wait_s(None, replace(over, auth_s=TURN_S), held=False) == AUTH_PATIENCE_S - TURN_S


class Cluster:
    """An SB in virtual time, in which one chassis changes its zone all the time."""

    def __init__(self, policy: ClusterPolicy) -> None:
        self.sb, self.progress, self.now = SbView(policy=policy, chassis={}), Progress(), 0.0
        self.generations = {policy.generation}

    def look(self, target: Target, *members: ChassisFacts) -> Event | None:
        """A turn as the daemon takes it, 0.2 s after the last one."""
        self.now += 0.2
        self.progress.note(self.sb.policy, self.now)
        ledger = Ledger(None)
        ledger.update({one.name: one for one in members}, {}, {})
        census = take_census(self.sb.policy, ledger)
        elapsed = self.progress.elapsed(self.now, WALL + timedelta(seconds=self.now))
        taken = step(NB, self.sb, target, census, elapsed)
        if taken.event in (Event.FOLLOW, Event.EASE):
            self.progress.note_rows(self.now)
        assert taken.policy is not None
        self.sb = replace(self.sb, policy=taken.policy)
        self.generations.add(taken.policy.generation)
        return taken.event


def flapping(turn: int, **more: object) -> Target:
    """What the zone of one chassis makes of the classes: now this, now that."""
    pairs = PAIR if turn % 2 else {}
    target = Target(policy=ASKED, pairs=pairs, floor=Mode.OFF, weakens=bool(turn % 2))
    return replace(target, **more)  # type: ignore[arg-type]


def test_prepare_is_not_prolonged_by_rows_that_change() -> None:
    """Sixty seconds after it began it is over, whoever is behind by then."""
    cluster = Cluster(AT)
    late = ChassisFacts(name="hv1", digest=Digest(generation=1, phase=Phase.OFF, agent="a"))
    for turn in range(1, 400):
        event = cluster.look(flapping(turn), late)
        if event is Event.ADVANCE:
            break
    assert cluster.sb.policy is not None
    assert cluster.sb.policy.phase is Phase.ESTABLISH
    assert 60.0 <= cluster.now <= 61.0
    assert len(cluster.generations) <= 2 + 61.0 / ROWS_EVERY_S


def test_operators_word_and_quarantine_wait_for_no_row() -> None:
    """While rows are put off they go on, and move no classes by the way."""
    cluster = Cluster(replace(AT, phase=Phase.ENFORCE))
    assert cluster.look(flapping(1)) is Event.EASE
    published = cluster.sb.policy
    assert published is not None
    assert cluster.look(flapping(2)) is None
    out = frozenset({ChassisName("hv9")})
    assert cluster.look(flapping(3, quarantine=out, revoked=frozenset())) is Event.FOLLOW
    assert cluster.sb.policy == replace(published, quarantine=out, revoked=frozenset())
    assert cluster.look(flapping(4, policy=replace(ASKED, mode=Mode.PREFER))) is Event.CHANGE
