# SPDX-License-Identifier: Apache-2.0
"""Other clusters than the plain one: how they are connected and addressed changes nothing."""

from __future__ import annotations

import helpers
import pytest
from helpers import say

from ovn_ipsec.lab.cluster.chassis import CONTROLLER
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import (
    CENTRAL_IPV4,
    SB_PORT,
    ChassisSettings,
    ClusterSettings,
    Underlay,
)
from ovn_ipsec.lab.waiting import wait_until

DST_PORT = 6082
"""What an operator sets by hand in ``Encap.options:dst_port``; ovn-controller has no knob."""

EVERYTHING = ClusterSettings(
    chassis=2,
    tls=True,
    rbac=True,
    default=ChassisSettings(underlay=Underlay.IPV6, encaps=2),
    clear_ports=(6081, DST_PORT),
)


def _turn_on_and_off(cluster: Cluster, *, each: int, port: int) -> None:
    """On: all pairs encrypted, ESP alone; off: clear again, and nothing of ours is left."""
    with helpers.traffic(cluster) as ping:
        took = helpers.enforce(cluster)
        helpers.wait_all_encrypted(cluster, each=each)
        ping.run(1)
        say("enable", seconds=f"{took:.1f}", lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        ping.assert_only_ports_lost()
        ping.mark()
        ping.run(3)
        assert ping.lost == 0
        ping.assert_encrypted()
        for chassis in cluster.chassis.values():
            assert {(one["in_port"], one["out_port"]) for one in helpers.peers(chassis)} == {
                (port, port)
            }
        ping.mark()
        took = helpers.relax(cluster)
        ping.run(1)
        say("disable", seconds=f"{took:.1f}", lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        ping.assert_only_ports_lost()
        ping.mark()
        ping.run(1)
        ping.assert_in_clear()
    for chassis in cluster.chassis.values():
        helpers.wait_clean(chassis)


@pytest.mark.parametrize("cluster", [EVERYTHING], ids=["tls-rbac-ipv6-two-encaps"], indirect=True)
def test_tls_and_roles_ipv6_two_encap_ips_and_another_port(switched_off: Cluster) -> None:
    """All at once, to save clusters; each has its own assertion, so a failure says which.

    The databases listen for nothing but TLS, and the chassis have a role and no more; all four
    pairs of IPv6 addresses are encrypted, on the port that the operator gave.
    """
    cluster = switched_off
    listening = cluster.sb.rows("Connection", "target", "role")
    listening += cluster.nb.rows("Connection", "target")
    assert all(one["target"].startswith("pssl:") for one in listening)
    assert [one["target"] for one in listening if one.get("role")] == [f"pssl:{SB_PORT}:[::]"]
    _set_dst_port(cluster, DST_PORT)
    _match_ports(cluster)
    _turn_on_and_off(cluster, each=4, port=DST_PORT)
    for chassis in cluster.chassis.values():
        assert all(":" in ip for ip in chassis.encap_ips)
        log = (chassis.logs / f"{CONTROLLER}.log").read_text()
        assert f"ssl:{CENTRAL_IPV4}:{SB_PORT}" in log
        assert "digest_not_written" not in log


def _set_dst_port(cluster: Cluster, port: int) -> None:
    """Set it in every Encap row, and wait until ovn-controller has put it into the tunnels."""
    change = ["options", "insert", ["map", [["dst_port", str(port)]]]]
    cluster.sb.transact({"op": "mutate", "table": "Encap", "where": [], "mutations": [change]})

    def followed() -> bool:
        tunnels = [one for chassis in cluster.chassis.values() for one in chassis.tunnels]
        return len(tunnels) >= 2 and all(
            one["options"].get("dst_port") == str(port) for one in tunnels
        )

    wait_until(followed, 60, f"tunnels to port {port}")


def _match_ports(cluster: Cluster) -> None:
    """Make both ends of ovn-controller's tunnels agree, as its 23.03 does not by itself.

    With ``ipsec`` every port of a chassis gets the same local_ip, that of its first Encap row by
    UUID. A workload's ``encap-ip`` makes its peers send there, which is where a port is open.

    Source: OVN 23.03 controller/encaps.c, tunnel_add; controller/binding.c, update_port_encap.
    """
    for workload in cluster.workloads.values():
        rows = cluster.sb.rows("Encap", where=[["chassis_name", "==", workload.chassis]])
        ip = min(rows, key=lambda row: row["_uuid"])["ip"]
        words = ["set", "Interface", workload.name, f"external_ids:encap-ip={ip}"]
        cluster.chassis[workload.chassis].run(["ovs-vsctl", *words])

    def followed() -> bool:
        return all(row["encap"] for row in cluster.sb.rows("Port_Binding", "encap"))

    wait_until(followed, 60, "the workloads' encap IPs in the southbound")
