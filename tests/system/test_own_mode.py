# SPDX-License-Identifier: Apache-2.0
"""A cluster without any ovn-controller: made by ``ovn-sbctl chassis-add``, encrypted by itself."""

from __future__ import annotations

import time
from pathlib import Path

import helpers
import pytest
from helpers import say

from controller.ports.liveness import INIT_PID_NAMESPACE
from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import ChassisSettings, ClusterSettings
from ovn_ipsec.lab.waiting import wait_until

SEES_ALL = str(Path("/proc/self/ns/pid").readlink()) == INIT_PID_NAMESPACE
"""Else nobody here is known dead, and the operator has to say whose the ports are."""

ALONE = ClusterSettings(
    chassis=2,
    tls=True,
    rbac=True,
    default=ChassisSettings(
        ovn_controller=False,
        other_config={} if SEES_ALL else {"ovn-ipsec-tunnels": "own"},
    ),
)
"""Over TLS and with the role that lets a chassis write its own rows and no others."""


def _private_rows(cluster: Cluster) -> dict[str, str]:
    """Return the UUIDs of the Chassis_Private rows by chassis."""
    rows = cluster.sb.rows("Chassis_Private", "_uuid", "name")
    return {str(row["name"]): str(row["_uuid"]) for row in rows}


def _connect(chassis: Chassis, workload: str) -> None:
    """Join a workload and the tunnel port, as nobody else does without ovn-controller."""
    ((tunnel, *_),) = helpers.tunnel_ports(chassis).values()
    for source, actions in (
        (workload, f"set_field:1->tun_id,output:{tunnel}"),
        (tunnel, f"output:{workload}"),
    ):
        flow = f"in_port={source},actions={actions}"
        chassis.run(["ovs-ofctl", "add-flow", "br-int", flow])


def _claimed(cluster: Cluster) -> bool:
    """Tell whether ovn-controller has bound every workload."""
    rows = cluster.sb.rows("Port_Binding", "logical_port", "up")
    return set(cluster.workloads) <= {row["logical_port"] for row in rows if row["up"] is True}


@pytest.mark.parametrize("cluster", [ALONE], ids=["no-ovn-controller"], indirect=True)
def test_a_cluster_without_ovn_controller_comes_to_enforced_by_itself(cluster: Cluster) -> None:
    """From ``chassis-add`` to ESP between ports of our own, and on to a first ovn-controller.

    The ports are made, the rows to report in are made, the rollout ends at ``enforced``; then
    ovn-controller comes to each chassis and keeps every port, row and SA.
    """
    hosts = list(cluster.chassis.values())
    for host in hosts:
        host.run(["ovs-vsctl", "set-fail-mode", "br-int", "secure"])
        cluster.sbctl("chassis-add", host.name, "geneve", *host.encap_ips)
        # Under RBAC no chassis may write that column, so an ovn-controller has to find it right.
        cluster.sbctl("set", "Chassis", host.name, f"hostname={host.name}")
        host.external_ids(hostname=host.name)
    begin = time.monotonic()
    cluster.start_ipsec()
    for host in hosts:
        wait_until(lambda one=host: helpers.has_tunnel_ports(one, 1), 120, f"a port on {host.name}")
    say("own ports", seconds=f"{time.monotonic() - begin:.1f}")
    for host, workload in zip(hosts, cluster.workloads.values(), strict=True):
        assert workload.chassis == host.name
        _connect(host, workload.name)
    wait_until(lambda: _private_rows(cluster).keys() == cluster.chassis.keys(), 60, "own rows")
    with helpers.traffic(cluster) as ping:
        took = helpers.enforce(cluster)
        helpers.wait_all_encrypted(cluster)
        say("enforced alone", seconds=f"{took:.1f}", lost=ping.lost, sent=ping.sent)
        ping.run(1)
        ping.mark()
        ping.run(3)
        assert ping.lost == 0
        ping.assert_encrypted()
        # Nobody is waited for who will never answer.
        cluster.nbctl("--wait=hv", "--timeout=30", "sync")
        ports, rows = (
            {host.name: helpers.tunnel_ports(host) for host in hosts},
            _private_rows(cluster),
        )
        spis = helpers.spis(cluster)
        ping.mark()
        for host in hosts:
            host.daemons["ovn-controller"].start()
        wait_until(lambda: _claimed(cluster), 120, "the workloads bound")
        for host in hosts:
            # Open vSwitch keeps dropping what it dropped between our flows and ovn-controller's:
            # what was cached then does not look at Geneve's options, and pings keep it in use.
            host.run(["ovs-appctl", "revalidator/purge"])
        took = ping.wait_answers()
        say("handed over", answers_s=f"{took:.1f}", lost=ping.lost, sent=ping.sent)
        cluster.nbctl("--wait=hv", "--timeout=60", "sync")
        ping.run(2)
        assert {host.name: helpers.tunnel_ports(host) for host in hosts} == ports
        assert _private_rows(cluster) == rows
        assert helpers.spis(cluster) == spis
        assert helpers.state(cluster) == "enforced"
        ping.assert_encrypted()
    for host in hosts:
        log = (host.logs / f"{CONTROLLER}.log").read_text()
        assert "digest_not_written" not in log
        assert "tunnel_ports_not_written" not in log
