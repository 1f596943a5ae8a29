# SPDX-License-Identifier: Apache-2.0
"""A cluster that the stock ovs-monitor-ipsec encrypts moves to our controller, one by one.

The tests follow one another: each goes on from where the one before has left the cluster. The
middle one, h2, moves first: towards h3 it has the smaller name, towards h1 it has not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import helpers
import pytest
from helpers import say
from reader import Reader, section

from ovn_ipsec.lab.cluster.chassis import MONITOR, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import ChassisSettings, ClusterSettings
from ovn_ipsec.lab.hosts.tutorial import MIGRATE
from ovn_ipsec.lab.waiting import wait_until

STOCK = ClusterSettings(chassis=3, rsa=True, default=ChassisSettings(ike=False))

pytestmark = pytest.mark.parametrize("cluster", [STOCK], indirect=True, ids=["stock"])

REPLACED_S = 15.0
"""A stock peer ends the IKE_SA that ours has replaced 10 s later (uniqueids=yes)."""


def _move(cluster: Cluster, name: str) -> float:
    """Move one chassis by the commands of the tutorial; returns how long it took."""
    begin = time.monotonic()
    chassis = cluster.chassis[name]
    typed = section(MIGRATE, "4. Move h1" if name == "h1" else "3. Move h2")
    Reader(cluster).type_all([one for one in typed if not one.is_question], chassis)
    assert not chassis.daemons.pop(MONITOR).is_alive
    return time.monotonic() - begin


def _encrypted_with(chassis: Chassis, *names: str) -> Callable[[], bool]:
    def told() -> bool:
        found = [one for one in helpers.peers(chassis) if one["peer"] in names and one["ike"]]
        return [one["state"] for one in found] == ["encrypted"] * len(names)

    return told


def _spis(chassis: Chassis, peer: str) -> set[str]:
    return {spi for one in helpers.peers(chassis) if one["peer"] == peer for spi in one["spis"]}


def test_stock_chassis_encrypt_among_themselves(cluster: Cluster) -> None:
    """Where the migration begins."""
    with ThreadPoolExecutor(max_workers=3) as pool:
        for job in [pool.submit(one.start_stock_ipsec) for one in cluster.chassis.values()]:
            job.result()
    helpers.switch(cluster, on=True)
    for names in (("w2", "w1"), ("w2", "w3")):
        with helpers.traffic(cluster, *names) as ping:
            wait_until(lambda traffic=ping: len(traffic.esp) == 2, 120, "ESP")
            ping.wait_answers()
            ping.mark()
            ping.run(2)
            ping.assert_encrypted()
    cluster.central.start_ipsec()
    helpers.wait_state(cluster, "establishing (degraded)")
    assert "h1: no controller" in helpers.summary(cluster)


def test_first_chassis_moves_beside_stock_ones(cluster: Cluster) -> None:
    """Not one packet is clear, and both pairs are up again, whoever has the smaller name."""
    h2 = cluster.chassis["h2"]
    with (
        helpers.traffic(cluster, "w2", "w1") as passive,
        helpers.traffic(cluster, "w2", "w3") as first,
    ):
        took = _move(cluster, "h2")
        begin = time.monotonic()
        wait_until(_encrypted_with(h2, "h3"), 120, "h2-h3 encrypted")
        say("h2-h3 encrypted", seconds=f"{time.monotonic() - begin:.1f}", start=f"{took:.1f}")
        wait_until(_encrypted_with(h2, "h1", "h3"), 120, "h2-h1 encrypted")
        say("h2-h1 encrypted", seconds=f"{time.monotonic() - begin:.1f}")
        first.run(REPLACED_S)
        for name, ping in (("h1", passive), ("h3", first)):
            say("h2 moved", peer=name, sent=ping.sent, lost=ping.lost, at=ping.lost_at)
            ping.assert_encrypted()
        assert _encrypted_with(h2, "h1", "h3")()
    reader = Reader(cluster)
    for step in section(MIGRATE, "3. Move h2"):
        if step.command == "ovn-ipsec peers":
            assert "2 pairs: 2 encrypted" in reader.type(step)
        elif step.command.startswith("ovn-ipsec status"):
            assert "no problems" in reader.type(step)


def test_stock_peer_ends_a_pair(cluster: Cluster) -> None:
    """It is made anew without a clear packet: the peer's traps make one half, ours the other."""
    h1, h2 = cluster.chassis["h1"], cluster.chassis["h2"]
    before = _spis(h2, "h1")
    with helpers.traffic(cluster, "w2", "w1") as ping:
        begin = time.monotonic()
        for line in h1.run(["ipsec", "status"]).stdout.splitlines():
            if "ESTABLISHED" in line and "10.9.0.2" in line:
                h1.run(["ipsec", "stroke", "down-nb", line.split(":")[0].strip()])

        def renewed() -> bool:
            return not before & _spis(h2, "h1") and _encrypted_with(h2, "h1")()

        wait_until(renewed, 120, "h2-h1 encrypted anew")
        took = time.monotonic() - begin
        ping.wait_answers()
        say("stock peer ended the IKE_SA", seconds=f"{took:.1f}", lost=ping.lost, sent=ping.sent)
        ping.assert_encrypted()


def test_nothing_is_clear_under_enforce(cluster: Cluster) -> None:
    """Nor while the IKE daemon of the chassis that has moved is stopped."""
    h2 = cluster.chassis["h2"]
    cluster.nbctl("set", "NB_Global", ".", "options:ovn-ipsec-rollout=immediate")
    wait_until(lambda: helpers.digest(cluster, "h2").get("ovn-ipsec-phase") == "enforce", 60, "h2")
    with helpers.traffic(cluster, "w2", "w3") as ping:
        h2.daemons["charon"].stop()
        ping.run(5)
        assert ping.lost > 0
        h2.daemons["charon"].start()
        wait_until(_encrypted_with(h2, "h1", "h3"), 120, "h2 encrypted")
        ping.wait_answers()
        assert {key for key in ping.clear if key[1] in h2.encap_ips} == set()


def test_the_others_follow(cluster: Cluster) -> None:
    """The last pair of stock chassis moves too, and then all of it is enforced."""
    cluster.nbctl("remove", "NB_Global", ".", "options", "ovn-ipsec-rollout")
    for name in ("h1", "h3"):
        with (
            helpers.traffic(cluster, "w1", "w3") as ping,
            helpers.traffic(cluster, "w1", "w2") as other,
        ):
            _move(cluster, name)
            others = [one for one in cluster.chassis if one != name]
            wait_until(_encrypted_with(cluster.chassis[name], *others), 180, f"{name} encrypted")
            ping.run(REPLACED_S)
            for peers, one in (("w1-w3", ping), ("w1-w2", other)):
                say(f"{name} moved", pair=peers, sent=one.sent, lost=one.lost, at=one.lost_at)
                one.assert_encrypted()
    helpers.wait_state(cluster, "enforced")
    helpers.wait_all_encrypted(cluster)
    ours = ("ovn-ipsec wait", "ovn-ipsec status", "ovs-appctl")
    typed = [one for one in section(MIGRATE, "5. Enforced") if one.command.startswith(ours)]
    Reader(cluster).type_all(typed)
    assert [one.command.split()[0] for one in typed] == ["ovn-ipsec", "ovn-ipsec", "ovs-appctl"]
