# SPDX-License-Identifier: Apache-2.0
"""Flow-based tunnels of OVN 26.03: one port for all peers, whose addresses flows set.

Stock ovn-controller says that it supports no IPsec for them, and sends clear text.
"""

from __future__ import annotations

import helpers
import pytest
from helpers import say

from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import ChassisSettings, ClusterSettings
from ovn_ipsec.lab.waiting import wait_until

SETTINGS = ClusterSettings(
    chassis=3,
    default=ChassisSettings(external_ids={"ovn-enable-flow-based-tunnels": "true"}),
)

pytestmark = [
    pytest.mark.needs_ovn((26, 3), "flow-based tunnels"),
    pytest.mark.parametrize("cluster", [SETTINGS], ids=["flow-based"], indirect=True),
]


def test_flow_based_tunnels_are_encrypted_and_clear_again(switched_off: Cluster) -> None:
    """On, a controller killed and back, off: the wire shows ESP alone as long as it is on."""
    cluster = switched_off
    for chassis in cluster.chassis.values():
        (port,) = chassis.tunnels
        assert port["options"]["remote_ip"] == "flow"
    with helpers.traffic(cluster) as ping:
        took = helpers.enforce(cluster)
        helpers.wait_all_encrypted(cluster)
        ping.run(2)
        say("enable", seconds=f"{took:.1f}", lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        assert ping.lost <= helpers.CHANGE_LOST
        ping.mark()
        ping.run(3)
        assert ping.lost == 0
        ping.assert_encrypted()
        daemon = cluster.chassis["h1"].daemons["ovn-ipsec-controller"]
        daemon.kill()
        ping.run(3)
        daemon.start()
        helpers.wait_all_encrypted(cluster)
        assert ping.lost == 0
        ping.assert_encrypted()
        ping.mark()
        helpers.relax(cluster)
        ping.run(1)
        assert ping.lost <= helpers.CHANGE_LOST
        ping.mark()
        ping.run(2)
        ping.assert_in_clear()


def test_without_sas_nothing_leaves_a_flow_based_tunnel(switched_off: Cluster) -> None:
    """The IKE daemon stops, and with it go the SAs: what is left is denied, and never clear."""
    cluster = switched_off
    helpers.enforce(cluster)
    helpers.wait_all_encrypted(cluster)
    charon = cluster.chassis["h1"].daemons["charon"]
    with helpers.traffic(cluster) as ping:
        charon.stop()

        def blocked() -> bool:
            return helpers.pair_counts(cluster, "h1").get("blocked") == 2

        wait_until(blocked, helpers.PATIENCE_S, "h1 reports its pairs blocked")
        ping.run(2)
        assert ping.lost > 0
        assert ping.clear == {}
        charon.start()
        ping.wait_answers(20)
        assert ping.clear == {}
