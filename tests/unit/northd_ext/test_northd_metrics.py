# SPDX-License-Identifier: Apache-2.0
"""northd_ext.metrics: a cluster in numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from northd_ext.metrics import METRICS, Authority, Cluster, Snapshot, samples
from northd_ext.rollout.census import Census
from ovn_ipsec.model.status import PairCounts
from tests.metrics import told

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CENSUS = Census(
    chassis=9,
    ready=3,
    behind=(("hv4", "at generation 1 prepare"), ("hv5", "at generation 1 prepare")),
    junk=("hv6",),
    absent=("hv7",),
    problems=(("hv1", "clock"),),
    counts=PairCounts(encrypted=4),
    across=PairCounts(pending=1),
    ends=frozenset(
        {
            (NOW - timedelta(days=1), 1),
            (NOW + timedelta(days=7), 2),
            (NOW + timedelta(days=90), 4),
        }
    ),
)
STANDBY = Snapshot(active=False, northbound=True, southbound=False, cluster=None, authority=None)
ACTIVE = Snapshot(
    active=True,
    northbound=True,
    southbound=True,
    cluster=Cluster(state="enforced (degraded)", generation=2, errors=1, census=CENSUS),
    authority=Authority(signed=5, refused=2, usable=True),
)


def test_cluster_in_numbers() -> None:
    """All there is; the chassis by report add up to all, and those in wait to the summary's."""
    assert told(samples(ACTIVE, NOW)) == {
        "northd_active": 1,
        "northd_connected['northbound']": 1,
        "northd_connected['southbound']": 1,
        "cluster_state['enforced']": 1,
        "cluster_degraded": 1,
        "cluster_generation": 2,
        "cluster_policy_errors": 1,
        "cluster_chassis['ready']": 3,
        "cluster_chassis['behind']": 2,
        "cluster_chassis['unreadable']": 1,
        "cluster_chassis['none']": 3,
        "cluster_chassis_lagging": 4,
        "cluster_chassis_with_problems": 1,
        "cluster_pairs['pending']": 1,
        "cluster_pairs['encrypted']": 4,
        "cluster_pairs_across_zones['pending']": 1,
        "cluster_certificate_first_not_after_timestamp_seconds": NOW.timestamp() - 86400,
        "cluster_certificates_ending['7']": 1,
        "cluster_certificates_ending['30']": 3,
        "enrolment_signed_total": 5,
        "enrolment_refused": 2,
        "enrolment_authority_usable": 1,
    }
    assert tuple(dict.fromkeys(s.metric for s in samples(ACTIVE, NOW))) == METRICS


def test_time_alone_brings_a_certificate_nearer_to_its_end() -> None:
    """Nothing has to happen in the cluster for that."""
    later = {s.labels: s.value for s in samples(ACTIVE, NOW + timedelta(seconds=1))}
    assert later[(("within_days", "7"),)] == 3


def test_standby_says_nothing_of_the_cluster() -> None:
    """Else two would, and one of them what it last knew."""
    assert told(samples(STANDBY, NOW)) == {"northd_active": 0, "northd_connected['northbound']": 1}


def test_settled_cluster_without_certificates() -> None:
    """Not degraded, no first end, none that ends."""
    assert ACTIVE.cluster is not None
    quiet = replace(CENSUS, ends=frozenset())
    cluster = replace(ACTIVE.cluster, state="established", census=quiet)
    found = told(samples(replace(ACTIVE, cluster=cluster, authority=None), NOW))
    assert (1, 0) == (found["cluster_state['established']"], found["cluster_degraded"])
    assert not [name for name in found if "certificate" in name or "enrolment" in name]
