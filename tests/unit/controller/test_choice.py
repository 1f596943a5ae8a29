# SPDX-License-Identifier: Apache-2.0
"""When the IKE daemon is looked for, and when all of them are left alone."""

from __future__ import annotations

from controller.ike.choice import LOOK_S, NEVER, IkeChoice
from controller.ike.conflict import ConflictWatch
from ovn_ipsec.model.ike import Ike, IkeSetting, IkesHere

S, L = Ike.STRONGSWAN, Ike.LIBRESWAN


class Here:
    """What a host has, and how often that was asked for."""

    def __init__(self, *running: Ike) -> None:
        self.running, self.asked = running, 0

    def __call__(self, vici: str) -> IkesHere:
        """Look."""
        assert vici == "unix:///vici"
        self.asked += 1
        return IkesHere(running=frozenset(self.running))


def test_nobody_is_asked_unless_it_is_left_to_us() -> None:
    """What is named is taken at once, and there is nothing to wait for."""
    here = Here(S, L)
    choice = IkeChoice(here)
    assert (choice.ike, choice.look_at) == (S, NEVER)
    assert not choice.look(IkeSetting.STRONGSWAN, "unix:///vici", 0.0)
    assert (choice.ike, choice.problem, choice.look_at, here.asked) == (S, "", NEVER, 0)
    assert choice.look(IkeSetting.LIBRESWAN, "unix:///vici", 0.1)
    assert (choice.ike, choice.problem, here.asked) == (L, "", 0)


def test_left_to_us_what_runs_is_followed() -> None:
    """Every few seconds, and no more often."""
    here = Here(S)
    choice = IkeChoice(here)
    assert not choice.look(IkeSetting.AUTO, "unix:///vici", 0.0)
    assert (choice.ike, choice.look_at) == (S, LOOK_S)
    here.running = (L,)
    assert not choice.look(IkeSetting.AUTO, "unix:///vici", LOOK_S / 2)
    assert choice.look(IkeSetting.AUTO, "unix:///vici", LOOK_S)
    assert (choice.ike, here.asked) == (L, 2)


def test_two_that_run_are_a_conflict_until_one_is_gone() -> None:
    """As a live ovs-monitor-ipsec is, which is said first."""
    here, pids = Here(S, L), [7, None, None]
    choice = IkeChoice(here)
    conflict = ConflictWatch(lambda: pids.pop(0), choice)
    choice.look(IkeSetting.AUTO, "unix:///vici", 0.0)
    assert conflict.look(0.0)
    assert "ovs-monitor-ipsec runs here as pid 7" in conflict.problem
    assert not conflict.look(LOOK_S)
    assert "both run here" in conflict.problem
    here.running = (L,)
    assert choice.look(IkeSetting.AUTO, "unix:///vici", LOOK_S)
    assert (choice.ike, conflict.problem) == (L, "")
