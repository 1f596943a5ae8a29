# SPDX-License-Identifier: Apache-2.0
"""Other clusters than the plain one: how they are connected and addressed changes nothing."""

from __future__ import annotations

import helpers
import pytest

from ovn_ipsec.lab.cluster import Cluster
from ovn_ipsec.lab.settings import ChassisSettings, ClusterSettings, Underlay

VARIANTS = {
    "tls-and-rbac": ClusterSettings(chassis=2, tls=True, rbac=True),
    "ipv6-underlay": ClusterSettings(chassis=2, default=ChassisSettings(underlay=Underlay.IPV6)),
    "two-encap-ips": ClusterSettings(chassis=2, default=ChassisSettings(encaps=2)),
}


@pytest.mark.parametrize("cluster", VARIANTS.values(), ids=VARIANTS.keys(), indirect=True)
def test_variant_is_encrypted_and_undone(switched_off: Cluster) -> None:
    """On: at most one ping lost, every pair encrypted, ESP alone; off: nothing is left."""
    cluster = switched_off
    with helpers.traffic(cluster) as ping:
        helpers.enforce(cluster)
        ping.run(2)
        assert ping.lost <= 1, ping.lost_at
        ping.mark()
        ping.run(3)
        ping.assert_encrypted()
        assert ping.lost == 0
        for chassis in cluster.chassis.values():
            states = {one["state"] for one in helpers.peers(chassis)}
            assert states == {"encrypted"}
        ping.mark()
        helpers.relax(cluster)
        ping.run(2)
        assert ping.lost <= 1, ping.lost_at
    for chassis in cluster.chassis.values():
        helpers.wait_clean(chassis)
