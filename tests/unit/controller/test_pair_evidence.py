# SPDX-License-Identifier: Apache-2.0
"""Two agents that change over by what they hear of each other: sooner, and without a loss."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.plan.pair.lifecycle import SWITCH_IN_S
from ovn_ipsec.model.policy import Phase
from ovn_ipsec.model.status import PairState
from tests.unit.controller.test_pair_of_chassis import Cluster, classes, enforced, watched
from tests.worlds import A, B, two_classes


def prepared(**pairs: str) -> Cluster:
    """Two chassis that have acknowledged prepare."""
    cluster = Cluster(two_classes("prod", "prod"))
    cluster.publish(classes(Phase.PREPARE, **pairs))
    cluster.run(5)
    return cluster


def took(cluster: Cluster) -> float:
    """Seconds until both ends report the pair encrypted."""
    began = cluster.now
    while cluster.states() != [{PairState.ENCRYPTED}] * 2:
        cluster.run(0.5)
        assert cluster.now < began + 60
    return cluster.now - began


@pytest.mark.parametrize(("talk", "hush"), [(True, True), (False, False), (True, False)])
def test_a_pair_changes_over_in_seconds_where_something_is_heard(talk: bool, hush: bool) -> None:
    """Its traffic, or what each end sends for that where there is none."""
    cluster = prepared()
    cluster.talk, cluster.hush = {A: talk, B: talk}, hush
    lost = watched(cluster)
    cluster.publish(classes(Phase.ESTABLISH))
    assert took(cluster) <= 5.0
    assert lost == []


def test_a_pair_changes_over_after_a_fixed_time_where_nothing_is_heard() -> None:
    """No traffic, and what is sent for that gets lost."""
    cluster = prepared()
    cluster.talk, cluster.hush = {A: False, B: False}, True
    cluster.publish(classes(Phase.ESTABLISH))
    assert SWITCH_IN_S <= took(cluster) <= SWITCH_IN_S + 2


def test_what_comes_over_sas_from_before_is_no_evidence() -> None:
    """The peer goes on with them for a while, and only then hears of what was and is over."""
    cluster = enforced(classes(lab_prod="off"))
    lost = watched(cluster)
    lab, prod = two_classes("lab", "prod"), two_classes("prod", "prod")
    cluster.publish(classes(generation=11, lab_prod="off"), lab)
    cluster.run(4)
    cluster.publish(classes(generation=12, lab_prod="off"), prod, apart=5.0)
    assert took(cluster) > SWITCH_IN_S - 6
    assert lost == []


BUSY = st.sampled_from([0.0, 0.0, 1.0, 2.5, 4.0, 6.0])


@pytest.mark.slow
@settings(max_examples=60)
@given(
    st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    st.booleans(),
    st.tuples(BUSY, BUSY),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_however_busy_the_ends_are_nothing_is_lost_when_they_change_over(
    apart: float, turned: bool, busy: tuple[float, float], heard: tuple[bool, bool, bool]
) -> None:
    """One hears of the phase later, one looks seldom, one is silent, and knocks get lost."""
    cluster = prepared()
    cluster.talk, cluster.hush = {A: heard[0], B: heard[1]}, heard[2]
    for end, every in zip(cluster.ends, busy, strict=True):
        end.every = every
    if turned:
        cluster.ends = cluster.ends[::-1]
    lost = watched(cluster)
    cluster.publish(classes(Phase.ESTABLISH), apart=apart)
    cluster.run(40)
    assert cluster.states() == [{PairState.ENCRYPTED}] * 2
    assert lost == []


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from([2.0, 6.0, 15.0, 40.0]), st.booleans()), max_size=4),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.tuples(BUSY, BUSY),
    st.booleans(),
)
def test_a_class_that_opens_and_closes_a_pair_at_any_time_loses_nothing(
    flips: list[tuple[float, bool]], apart: float, busy: tuple[float, float], hush: bool
) -> None:
    """Back and forth, also while the last change is not over; each within RELAX_OUT_S."""
    cluster = enforced(classes(lab_prod="off"))
    cluster.hush = hush
    for end, every in zip(cluster.ends, busy, strict=True):
        end.every = every / 4
    lost = watched(cluster)
    for number, (seconds, opens) in enumerate(flips, start=11):
        rows = two_classes("lab" if opens else "prod", "prod")
        cluster.publish(classes(generation=number, lab_prod="off"), rows, apart)
        cluster.run(seconds)
    cluster.run(30)
    cluster.publish(classes(generation=99, lab_prod="off"), two_classes("prod", "prod"))
    cluster.run(60)
    assert cluster.states() == [{PairState.ENCRYPTED}] * 2
    assert lost == []
