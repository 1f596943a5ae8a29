# SPDX-License-Identifier: Apache-2.0
"""A tunnel end with the stock ovs-monitor-ipsec, a secret, and no ovn-controller."""

from __future__ import annotations

import time

import helpers
import pytest
from helpers import say
from test_authentication import place_secret

from ovn_ipsec.lab.cluster.chassis import Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import ChassisSettings, ClusterSettings
from ovn_ipsec.lab.waiting import wait_until
from ovn_ipsec.lab.witness.wire import Kind

SECRET = "a-secret-of-the-stock-kind"
FOREIGN = ChassisSettings(ovn_controller=False, ike=False, workloads=0)
SETTINGS = ClusterSettings(chassis=2, special={"h2": FOREIGN})

pytestmark = pytest.mark.parametrize("cluster", [SETTINGS], indirect=True, ids=["secret"])

SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.sendto(b"clear text", (sys.argv[1], 6081))
"""


def _start_stock(cluster: Cluster, chassis: Chassis) -> None:
    """Make the chassis' rows and its port as an operator does, and start its daemon."""
    cluster.sbctl("chassis-add", "h2", "geneve", chassis.encap_ips[0])
    # The stock daemon takes no port with a secret where a certificate is set.
    keys = ("certificate", "private_key", "ca_cert")
    vsctl = ["ovs-vsctl", "--no-wait"]
    chassis.run([*vsctl, "remove", "Open_vSwitch", ".", "other_config", *keys])
    words = ["type=geneve", f"options:remote_ip={cluster.chassis['h1'].encap_ips[0]}"]
    words += [f"options:psk={SECRET}", "options:key=flow"]
    port = ["--may-exist", "add-br", "br-int", "--", "add-port", "br-int", "gen0"]
    chassis.run([*vsctl, *port, "--", "set", "Interface", "gen0", *words])
    chassis.start_stock_ipsec()


def _sent(cluster: Cluster, source: Chassis, target: Chassis) -> set[Kind]:
    """What a Geneve packet from one to the other is on the wire."""
    mark = cluster.wire.mark()
    source.run(["python3", "-c", SEND, target.encap_ips[0]], check=False)
    ends = (source.encap_ips[0], target.encap_ips[0])

    def kinds() -> set[Kind]:
        found = {kind for kind, *flow in cluster.wire.counts(mark) if tuple(flow) == ends}
        return found & {Kind.ESP, Kind.CLEAR}

    return wait_until(kinds, 30, "the packet on the wire")


def test_secret_of_a_stock_peer(cluster: Cluster) -> None:
    """What goes either way under enforce is ESP, and the secret is shown nowhere."""
    h1, h2 = cluster.chassis["h1"], cluster.chassis["h2"]
    _start_stock(cluster, h2)
    place_secret(h1, SECRET)
    name = "other_config:ovn-ipsec-psk-plain=h2"
    h1.run(["ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", name])
    options = ("options:ovn-ipsec-auth=psk", "options:ovn-ipsec-rollout=immediate")
    cluster.nbctl("set", "NB_Global", ".", *options)
    cluster.start_ipsec(["h1"])
    helpers.switch(cluster, on=True)
    begin = time.monotonic()
    wait_until(lambda: helpers.states_with(h1, "h2") == {"encrypted"}, 120, "h1-h2 encrypted")
    say("a stock peer with a secret", seconds=f"{time.monotonic() - begin:.1f}")
    (pair,) = helpers.peers(h1)
    assert pair["auth"] == "psk"
    wait_until(lambda: helpers.digest(cluster, "h1").get("ovn-ipsec-phase") == "enforce", 60, "h1")
    for ends in ((h1, h2), (h2, h1)):
        assert _sent(cluster, *ends) == {Kind.ESP}
    logs = "".join(path.read_text(errors="replace") for path in h1.logs.iterdir())
    assert SECRET not in logs + str(h1.ovs.row("Open_vSwitch", "other_config"))
