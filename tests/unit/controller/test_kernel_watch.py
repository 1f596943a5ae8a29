# SPDX-License-Identifier: Apache-2.0
"""The kernel is compared with what the IKE daemon holds, not with what it held before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from controller.guard.host import HostGuard
from controller.kernel.tables import KernelEvents
from controller.kernel.watch import AGAIN_S, AUDIT_S, ORPHAN_S, KernelWatch, Reported
from controller.plan.agent import Agent
from controller.plan.connection import CHILDREN, ConnName
from controller.state_dir import StateDir
from controller.xfrm.values import XfrmPolicy, XfrmState
from ovn_ipsec.model.observation import Known
from tests import worlds
from tests.fakes.kernel import FakeGuardLayer
from tests.unit.controller.test_agent_plan import (
    NAME,
    POLICIES,
    STATES,
    UP,
    agent_of,
    both_up,
    settle,
)


def NONE(_suspects: Reported) -> frozenset[ConnName]:  # noqa: N802 - an answer, and no deed
    """No pair has changed since it was read."""
    return frozenset()


@dataclass
class Tables:
    """A kernel that holds what a test puts into it."""

    policies: tuple[XfrmPolicy, ...] = POLICIES
    states: tuple[XfrmState, ...] = ()
    deleted: list[XfrmState] = field(default_factory=list)

    def open(self) -> None:
        """See KernelTables."""

    def close(self) -> None:
        """See KernelTables."""

    def filenos(self) -> list[int]:
        """See KernelTables."""
        return []

    def drain(self) -> KernelEvents:
        """See KernelTables."""
        return KernelEvents()

    def dump(self) -> tuple[tuple[XfrmPolicy, ...], tuple[XfrmState, ...]]:
        """See KernelTables."""
        return self.policies, self.states

    def delete_states(self, states: Iterable[XfrmState]) -> None:
        """See KernelTables."""
        self.deleted += states

    def delete_policies(self, policies: Iterable[XfrmPolicy]) -> None:
        """See KernelTables."""

    def esp(self, versions: Iterable[int]) -> Known[bool]:
        """See KernelTables."""
        return Known(value=bool(list(versions)))


def watched(folder: Path) -> tuple[Tables, KernelWatch, Agent]:
    """A pair that is up and whole."""
    kept = StateDir(folder)
    kept.open()
    reqids = kept.reqids(NAME)
    tables = Tables(states=tuple(replace(one, reqid=reqids[one.reqid - 1]) for one in STATES))
    watch = KernelWatch(tables, HostGuard([FakeGuardLayer()], kept, ""), kept)
    agent = agent_of(worlds.two_chassis())
    settle(agent)
    agent.put_reqids(NAME, reqids)
    agent.put_seen(NAME, UP)
    watch.look(agent, 10.0, NONE)
    assert not agent.seen[NAME].missing
    assert watch.wake_at() == 10.0 + AUDIT_S
    return tables, watch, agent


@pytest.mark.parametrize("moved", [frozenset({NAME}), None], ids=["this one", "perhaps all"])
def test_nothing_is_missing_of_a_pair_that_was_rekeyed_since(
    tmp_path: Path, moved: frozenset[ConnName] | None
) -> None:
    """What the kernel no longer has, the daemon may have replaced; soon it is compared again."""
    tables, watch, agent = watched(tmp_path)
    tables.states = ()
    watch.look(agent, 50.0, lambda _suspects: moved)
    assert not agent.seen[NAME].missing
    assert watch.wake_at() == 50.0 + AGAIN_S
    watch.look(agent, 50.0 + AGAIN_S, NONE)
    assert agent.seen[NAME].missing == frozenset(CHILDREN)


def test_the_daemon_is_asked_for_what_the_kernel_seems_to_lack(tmp_path: Path) -> None:
    """It is told what it reported, and only of such pairs."""
    tables, watch, agent = watched(tmp_path)
    asked: list[Reported] = []

    def outdated(suspects: Reported) -> frozenset[ConnName]:
        asked.append(suspects)
        return frozenset(suspects)

    watch.look(agent, 50.0, outdated)
    tables.states = ()
    watch.look(agent, 50.0 + AUDIT_S, outdated)
    assert asked == [{}, {NAME: UP.sas}]
    assert not agent.seen[NAME].missing


def test_sas_of_a_pair_that_was_rekeyed_since_have_an_owner(tmp_path: Path) -> None:
    """Only what is without one for a while, after the daemon was asked, is deleted."""
    tables, watch, agent = watched(tmp_path)
    agent.put_sas(NAME, (both_up(first=11),))
    moved = frozenset({NAME})
    for now in (50.0, 80.0, 110.0):
        watch.look(agent, now, lambda _suspects: moved)
    assert tables.deleted == []
    watch.look(agent, 140.0, NONE)
    assert tables.deleted == []
    watch.look(agent, 140.0 + AUDIT_S, NONE)
    assert tables.deleted == list(tables.states)


def test_audits_that_follow_one_another_quickly_delete_nothing(tmp_path: Path) -> None:
    """All of them may come between a rekey and the answer that tells of it."""
    tables, watch, agent = watched(tmp_path)
    agent.put_sas(NAME, (both_up(first=11),))
    for second in range(int(ORPHAN_S)):
        watch.hurry(50.0 + second)
        watch.look(agent, 50.5 + second, NONE)
    agent.put_sas(NAME, UP.sas)
    watch.look(agent, 100.0, NONE)
    agent.put_sas(NAME, (both_up(first=11),))
    watch.look(agent, 100.0 + AUDIT_S, NONE)
    assert tables.deleted == []


def test_a_daemon_that_is_away_is_not_asked(tmp_path: Path) -> None:
    """Its session may be closed."""
    tables, watch, agent = watched(tmp_path)
    tables.states = ()
    watch.look(agent, 50.0, None)
    assert not agent.seen[NAME].missing
