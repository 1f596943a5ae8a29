# SPDX-License-Identifier: Apache-2.0
"""northd_ext.headline: the first thing that is waited for, and what is done meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from northd_ext.headline import Situation, headline, waits_for
from northd_ext.metrics import Cluster
from northd_ext.rollout.census import Census
from ovn_ipsec.model.status import PairCounts
from ovn_ipsec.model.wait import Reached, Wait

UP = Reached(where="unix:/db", up=True)
CENSUS = Census(
    chassis=3,
    ready=3,
    behind=(),
    junk=(),
    absent=(),
    problems=(),
    counts=PairCounts(encrypted=4, blocked=2),
)
CLUSTER = Cluster(state="enforced (degraded)", generation=7, errors=0, census=CENSUS)
WELL = Situation(
    northbound=UP, southbound=UP, lacking="", authority="", role="active", cluster=CLUSTER
)
DOES = "active: enforced (degraded) generation 7, 3 chassis, 4 of 6 pairs encrypted"


def test_the_active_one_says_what_the_cluster_is_in():
    """As NB is told."""
    assert waits_for(WELL) is None
    assert headline(WELL) == DOES


@pytest.mark.parametrize("role", ["standby", "paused", "active"])
def test_who_has_decided_nothing_says_its_role(role: str):
    """Another one may be active, or it has just become so."""
    assert headline(replace(WELL, role=role, cluster=None)) == role


@pytest.mark.parametrize(
    ("lacks", "wait"),
    [
        (
            {"northbound": Reached(where="unix:/nb", up=False, problem="unix:/nb: refused")},
            Wait("northbound not reached: unix:/nb: refused", told=True),
        ),
        (
            {"southbound": Reached(where="unix:/sb", up=False)},
            Wait("southbound not reached: unix:/sb: no answer yet", known=False),
        ),
        ({"lacking": "no row in NB_Global"}, Wait("no row in NB_Global")),
        (
            {"authority": "/ca: no such folder"},
            Wait("the authority cannot be used: /ca: no such folder", told=True),
        ),
    ],
)
def test_what_is_waited_for_stands_first(lacks: dict[str, object], wait: Wait):
    """In this order; and what is in force goes on."""
    seen = replace(WELL, **lacks)  # type: ignore[arg-type]
    assert waits_for(seen) == wait
    assert headline(seen) == f"waiting: {wait.reason}; {DOES}"
