# SPDX-License-Identifier: Apache-2.0
"""Libreswan on two chassis and strongSwan on the third: one cluster, and no packet in clear."""

from __future__ import annotations

import time
from itertools import pairwise

import helpers
import proving
import pytest
from helpers import say

from ovn_ipsec.lab.cluster import unpacked
from ovn_ipsec.lab.cluster.chassis import CONTROLLER
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import ChassisSettings, ClusterSettings

BUILDS = {"4.10": "libreswan", "5.2": "libreswan-5.2"}
ROUND = ("w1", "w2", "w3", "w1")


def _settings(name: str) -> ClusterSettings:
    auto = {"ovn-ipsec-ike": "auto"}
    return ClusterSettings(
        chassis=3,
        special={
            "h1": ChassisSettings(libreswan=name),
            "h2": ChassisSettings(libreswan=name, other_config=auto),
        },
    )


def _needs(name: str) -> pytest.MarkDecorator:
    lack = unpacked.missing(name)
    return pytest.mark.skipif(bool(lack), reason=f"needs {lack}")


pytestmark = pytest.mark.parametrize(
    "cluster",
    [
        pytest.param(_settings(name), id=version, marks=_needs(name))
        for version, name in BUILDS.items()
    ],
    indirect=True,
)


def assert_all_ways_are_encrypted(cluster: Cluster) -> None:
    """Between each two workloads there is traffic, and ESP alone on the wire."""
    for source, target in pairwise(ROUND):
        with helpers.traffic(cluster, source, target) as ping:
            ping.run(1.5)
            ping.assert_encrypted()
            assert ping.lost == 0, (source, target, ping.lost_at)


def set_way(cluster: Cluster, way: str) -> None:
    if way == "psk":
        for chassis in cluster.chassis.values():
            proving.place_secret(chassis, "the secret of this cluster")
    proving.option(cluster, proving.AUTH, way)


def heal(cluster: Cluster, begin: float, what: str) -> None:
    helpers.wait_all_encrypted(cluster)
    helpers.wait_state(cluster, "enforced")
    say(what, healed_s=f"{time.monotonic() - begin:.1f}")


def test_off_to_enforced_and_off_again(switched_off: Cluster) -> None:
    """Both ways of authentication; every way between workloads; and nothing is left at the end."""
    cluster = switched_off
    for way in ("ca", "psk"):
        set_way(cluster, way)
        took = helpers.enforce(cluster)
        helpers.wait_all_encrypted(cluster)
        say("enable", way=way, seconds=f"{took:.1f}")
        assert_all_ways_are_encrypted(cluster)
        took = helpers.relax(cluster)
        say("disable", way=way, seconds=f"{took:.1f}")
        for chassis in cluster.chassis.values():
            helpers.wait_clean(chassis)
    set_way(cluster, "ca")


def test_a_controller_that_is_killed_loses_no_packet(enforced: Cluster) -> None:
    """It finds in pluto what it has left there."""
    h1 = enforced.chassis["h1"]
    before = helpers.spis(enforced)
    with helpers.traffic(enforced) as ping:
        h1.daemons[CONTROLLER].kill()
        ping.run(3)
        h1.daemons[CONTROLLER].start()
        helpers.wait_all_encrypted(enforced)
        ping.run(3)
        say("controller killed", lost=ping.lost, sent=ping.sent)
        ping.assert_encrypted()
        assert ping.lost == 0
    assert helpers.spis(enforced) == before
    helpers.wait_state(enforced, "enforced")


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_pluto_that_ends_leaves_nothing_in_clear(enforced: Cluster, how: str) -> None:
    """Killed, it leaves its SAs; stopped, it takes them with it, and the guard denies."""
    h1 = enforced.chassis["h1"]
    with helpers.traffic(enforced) as ping:
        getattr(h1.daemons["pluto"], how)()
        ping.run(3)
        h1.daemons["pluto"].start()
        begin = time.monotonic()
        ping.wait_answers(20)
        say(f"pluto {how}", answers_s=f"{time.monotonic() - begin:.1f}")
        heal(enforced, begin, f"pluto {how}")
        say(f"pluto {how}", lost=ping.lost, sent=ping.sent)
        assert ping.clear == {}
        ping.mark()
        ping.run(2)
        ping.assert_encrypted()
