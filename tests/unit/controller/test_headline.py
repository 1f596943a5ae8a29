# SPDX-License-Identifier: Apache-2.0
"""controller.headline: the first thing that is waited for, and what is done meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.headline import Situation, Told, headline, waits_for
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import NO_POLICY, ClusterPolicy, Mode, Phase
from ovn_ipsec.model.status import PairCounts
from ovn_ipsec.model.wait import Reached, Wait
from ovn_ipsec.schema.open_vswitch import LocalChassis, parse_local

UP = Reached(where="unix:/db", up=True)
SB = "tcp:192.0.2.1:6642"


def here(**external_ids: str) -> LocalChassis:
    """What a local database says."""
    names = {key.replace("_", "-"): text for key, text in external_ids.items()}
    return parse_local(names, {}, None)


WELL = here(system_id="hv1", ovn_remote=SB)


def policy(phase: Phase) -> ClusterPolicy:
    return ClusterPolicy(generation=7, phase=phase, default=Mode.REQUIRE, floor=Mode.OFF)


def told(phase: Phase = Phase.ENFORCE, **more: object) -> Told:
    """A chassis that lacks nothing."""
    well = Told(
        name=ChassisName("hv1"),
        southbound=Reached(where=SB, up=True),
        ike=Reached(where="unix:///vici", up=True),
        ready=True,
        has_row=True,
        held="",
        policy=policy(phase),
        applied=policy(phase),
        counts=PairCounts(encrypted=3, blocked=1, clear=9),
    )
    return replace(well, **more)  # type: ignore[arg-type]


def situation(**more: object) -> Situation:
    """A host that lacks nothing."""
    return replace(Situation(local=UP, here=WELL, chassis=told()), **more)  # type: ignore[arg-type]


ENFORCED = "enforced generation 7, 3 of 4 pairs encrypted"


@pytest.mark.parametrize(
    ("chassis", "shown"),
    [
        (told(), ENFORCED),
        (told(applied=policy(Phase.ESTABLISH)), "enforcing generation 7, 3 of 4 pairs encrypted"),
        (told(Phase.PREPARE), "preparing generation 7, 3 of 4 pairs encrypted"),
        (told(Phase.ESTABLISH), "establishing generation 7, 3 of 4 pairs encrypted"),
        (told(Phase.RELAX), "relaxing generation 7, 3 of 4 pairs encrypted"),
        (told(Phase.OFF), "off generation 7, 3 of 4 pairs encrypted"),
        (told(Phase.OFF, counts=PairCounts(clear=4)), "off generation 7"),
    ],
)
def test_a_chassis_that_waits_for_nothing_says_what_it_does(chassis: Told, shown: str):
    """By what it has brought its pairs to, not by what it was told to."""
    seen = situation(chassis=chassis)
    assert waits_for(seen) is None
    assert headline(seen) == shown


@pytest.mark.parametrize(
    ("local", "wait"),
    [
        (
            Reached(where="unix:/db", up=False, problem="unix:/db: No such file or directory"),
            Wait("no local database: unix:/db: No such file or directory", told=True),
        ),
        (
            Reached(where="unix:/db", up=False),
            Wait("no local database: unix:/db: no answer yet", known=False),
        ),
    ],
)
def test_a_local_database_that_is_not_there_comes_first(local: Reached, wait: Wait):
    """What goes on nevertheless is said as well."""
    assert waits_for(situation(local=local, here=None, chassis=None)) == wait
    assert headline(situation(local=local, here=None, chassis=None)) == f"waiting: {wait.reason}"
    assert headline(situation(local=local)) == f"waiting: {wait.reason}; {ENFORCED}"


@pytest.mark.parametrize(
    ("found", "reason", "is_told"),
    [
        (None, "the local database has no row in table Open_vSwitch", False),
        (here(ovn_remote=SB), "no system-id: set external_ids:system-id in the local", False),
        (
            here(ovn_remote=SB, ovn_encap_ip="junk"),
            "no system-id: set external_ids:system-id in the local",
            False,
        ),
        (here(system_id="hv1"), "ovn-remote is not set: set external_ids:ovn-remote in", False),
        (
            here(system_id="hv1", ovn_remote="junk"),
            "Open_vSwitch . external_ids:ovn-remote='junk': expected ssl:",
            True,
        ),
        (
            here(system_id="a" * 999, ovn_remote=SB),
            "Open_vSwitch . external_ids:system-id='aaaaa",
            True,
        ),
    ],
)
def test_what_the_local_database_lacks(found: LocalChassis | None, reason: str, is_told: bool):
    """Nobody logs what is not set; what is refused has a line of its own."""
    wait = waits_for(situation(here=found, chassis=None))
    assert wait is not None
    assert (wait.reason[: len(reason)], wait.known, wait.told) == (reason, True, is_told)


@pytest.mark.parametrize(
    ("chassis", "wait"),
    [
        (
            told(southbound=Reached(where=SB, up=False, problem=f"{SB}: Connection refused")),
            Wait(f"southbound not reached: {SB}: Connection refused", told=True),
        ),
        (
            told(southbound=Reached(where=SB, up=False)),
            Wait(f"southbound not reached: {SB}: no answer yet", known=False),
        ),
        (told(held="it is older"), Wait("it is older", told=True)),
        (
            told(ike=Reached(where="unix:///vici", up=False, problem="it hangs")),
            Wait("IKE daemon not reached: it hangs", told=True),
        ),
        (
            told(
                ike=Reached(
                    where="unix:///vici", up=False, problem="the IKE daemon does not answer"
                )
            ),
            Wait("the IKE daemon does not answer", told=True),
        ),
        (
            told(has_row=False),
            Wait("the southbound has no Chassis row hv1: ovn-controller makes it", known=False),
        ),
    ],
)
def test_what_a_chassis_waits_for_keeps_it_from_nothing_else(chassis: Told, wait: Wait):
    """What is in force goes on, and is said."""
    seen = situation(chassis=chassis)
    assert waits_for(seen) == wait
    assert headline(seen) == f"waiting: {wait.reason}; {ENFORCED}"


@pytest.mark.parametrize(
    ("chassis", "shown"),
    [
        (
            told(policy=NO_POLICY, ready=False),
            "waiting: a policy: the rows of the southbound have not come yet",
        ),
        (
            told(policy=NO_POLICY),
            "waiting: a policy: the southbound has none of ovn-ipsec-northd",
        ),
    ],
)
def test_a_chassis_without_a_policy_does_nothing(chassis: Told, shown: str):
    """Whether it is still to come, or nobody has written one."""
    assert headline(situation(chassis=chassis)) == shown


def test_without_encryption_no_ike_daemon_is_waited_for():
    """A host may have none before it is asked for."""
    away = Reached(where="unix:///vici", up=False, problem="no such file")
    seen = situation(chassis=told(Phase.OFF, ike=away, counts=PairCounts()))
    assert headline(seen) == "off generation 7"


def test_a_chassis_that_cannot_be_made_is_none():
    """The fault that keeps it from being made is said by itself."""
    assert headline(situation(chassis=None)) == ""


def test_who_is_to_take_over_is_waited_for():
    """What was in force before goes on meanwhile."""
    assert headline(situation(coming="hv2 has not")) == f"waiting: hv2 has not; {ENFORCED}"


@pytest.mark.parametrize(("kind", "what"), [("fault", "failing"), ("conflict", "waiting")])
def test_what_keeps_the_controller_from_its_work_comes_before_everything(kind: str, what: str):
    """It has its own line in the log."""
    seen = situation(**{kind: "broken"}, here=None)
    assert waits_for(seen) == Wait("broken", told=True)
    assert headline(seen) == f"{what}: broken; {ENFORCED}"
