# SPDX-License-Identifier: Apache-2.0
"""A cluster under ``enforce`` whose members change: leaving, joining, another owner of ports."""

from __future__ import annotations

import json
import time

import helpers
from helpers import say

from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.waiting import wait_until

LINGER_S = 60.0
"""How long the others hold what they have of a chassis whose rows are gone (design, section 2)."""
REBOOT = """
nft flush ruleset
ip xfrm policy flush
ip xfrm state flush
rm -rf /var/lib/ovn-ipsec/*
"""
"""What a new disk and a new kernel do to what is left on a host."""
_LOOKS = (
    ["ip", "xfrm", "state"],
    ["ip", "xfrm", "policy"],
    ["nft", "list", "ruleset"],
    ["swanctl", "--list-conns"],
)


def _traces(chassis: Chassis, peer: Chassis) -> list[str]:
    """Return what the kernel and the IKE daemon of one chassis still hold of another."""
    lines = [line.strip() for look in _LOOKS for line in chassis.run(look).stdout.splitlines()]
    (address,) = peer.encap_ips
    return [line for line in lines if address in line.replace("/", " ").split()]


# --- leaving and joining ---------------------------------------------------------------------


def _leave(chassis: Chassis) -> None:
    chassis.appctl("ovn-controller", "exit")
    wait_until(lambda: not chassis.daemons["ovn-controller"].is_alive, 60, "ovn-controller gone")
    chassis.daemons[CONTROLLER].stop()


def _wait_forgotten(chassis: Chassis, others: list[Chassis]) -> None:
    wait_until(
        lambda: not any(helpers.states_with(one, chassis.name) for one in others),
        60,
        f"no pair with {chassis.name}",
    )
    for one in others:
        wait_until(lambda other=one: not _traces(other, chassis), 30, f"no trace on {one.name}")


def _come_as_new(chassis: Chassis) -> None:
    chassis.daemons["charon"].kill()
    chassis.run(["sh", "-c", REBOOT])
    chassis.daemons["charon"].start()
    chassis.daemons[CONTROLLER].start()
    # As its unit does for systemd: ready is who has read the policy.
    wait_until(lambda: _status(chassis)["wanted_phase"] == "enforce", 60, "the policy read")
    chassis.daemons["ovn-controller"].start()


def _status(chassis: Chassis) -> dict[str, object]:
    found: dict[str, object] = json.loads(chassis.appctl(CONTROLLER, "status", "json"))
    return found


def test_chassis_leaves_for_good_and_a_new_one_joins(enforced: Cluster) -> None:
    """Who leaves is held for a while, then forgotten; who joins is never clear; the rest stays."""
    cluster, leaver = enforced, enforced.chassis["h3"]
    others = [chassis for chassis in cluster.chassis.values() if chassis is not leaver]
    before = helpers.spis(cluster)
    with helpers.traffic(cluster) as ping:
        begin = time.monotonic()
        _leave(leaver)
        wait_until(
            lambda: all(helpers.states_with(one, "h3") == {"lingering"} for one in others),
            30,
            "h3 held by the others",
        )
        ping.run(max(0.0, begin + LINGER_S - 10 - time.monotonic()))
        assert all(helpers.states_with(one, "h3") == {"lingering"} for one in others)
        _wait_forgotten(leaver, others)
        say("left", forgotten_s=f"{time.monotonic() - begin:.1f}")
        helpers.wait_state(cluster, "enforced")
        with cluster.pinging("w3", "w1") as out, cluster.pinging("w2", "w3") as into:
            begin = time.monotonic()
            _come_as_new(leaver)
            started = time.monotonic()
            helpers.wait_all_encrypted(cluster)
            first = out.mark(), into.mark()
            wait_until(lambda: out.received_since(first[0]) > 5, 60, "answers to w3")
            wait_until(lambda: into.received_since(first[1]) > 5, 60, "answers from w3")
            took = time.monotonic() - started
            say("joined", daemons_s=f"{started - begin:.1f}", traffic_s=f"{took:.1f}")
        helpers.wait_state(cluster, "enforced")
        say("left and joined", lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        assert ping.lost == 0
        ping.assert_encrypted()
    for ends in (("h1", "h2"), ("h2", "h1")):
        assert helpers.spis(cluster)[ends] == before[ends]
    assert helpers.spis(cluster)["h1", "h3"] != before["h1", "h3"]


# --- whose ports they are --------------------------------------------------------------------


def test_ports_made_here_are_taken_over_as_they_are(enforced: Cluster) -> None:
    """``own`` makes the ports of an absent ovn-controller; it comes back and makes none anew."""
    cluster, h3 = enforced, enforced.chassis["h3"]
    before, theirs = helpers.spis(cluster), helpers.tunnel_ports(h3)
    h3.appctl("ovn-controller", "exit", "--restart")
    wait_until(lambda: not h3.daemons["ovn-controller"].is_alive, 60, "ovn-controller gone")
    gone = [
        word for name, *_ in theirs.values() for word in ("--", "del-port", "br-int", str(name))
    ]
    own = ["set", "Open_vSwitch", ".", "other_config:ovn-ipsec-tunnels=own"]
    with helpers.traffic(cluster) as ping:
        h3.run(["ovs-vsctl", *own, *gone])
        wait_until(lambda: helpers.has_tunnel_ports(h3, len(theirs)), 60, "ports of our own")
        ours = helpers.tunnel_ports(h3)
        assert {peer: one[:3] for peer, one in ours.items()} == {
            peer: one[:3] for peer, one in theirs.items()
        }
        assert not {one[3] for one in ours.values()} & {one[3] for one in theirs.values()}
        with cluster.pinging("w1", "w3") as pinger:
            h3.daemons["ovn-controller"].start()
            mark = pinger.mark()
            wait_until(lambda: pinger.received_since(mark) > 5, 60, "answers through our ports")
        assert helpers.tunnel_ports(h3) == ours
        helpers.wait_all_encrypted(cluster)
        h3.run(["ovs-vsctl", "remove", "Open_vSwitch", ".", "other_config", "ovn-ipsec-tunnels"])
        ping.run(2)
        assert helpers.tunnel_ports(h3) == ours
        ping.assert_encrypted()
        assert ping.lost == 0
    assert helpers.spis(cluster) == before
