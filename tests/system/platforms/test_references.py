# SPDX-License-Identifier: Apache-2.0
"""Cases of Open vSwitch's and OVN's own IPsec tests that no other test has; nothing is clear.

docs/explanation/reference-tests.md lists all of them. Where those ask whether ESP was seen, these
ask also whether anything else was. The tests of one cluster go on from each other.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace

import helpers
import proving
import pytest
from helpers import say

from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.pki import Authority
from ovn_ipsec.lab.cluster.settings import (
    CREDENTIALS,
    ChassisSettings,
    ClusterSettings,
    Underlay,
)
from ovn_ipsec.lab.waiting import wait_until
from ovn_ipsec.lab.witness.wire import Kind

Ends = tuple[str, str]

GHOSTS = tuple(f"ghost{number}" for number in range(1, 6))
"""Chassis that are nothing but rows."""
GHOST_IP = {Underlay.IPV4: "10.9.0.20{}", Underlay.IPV6: "fd09::2:{}"}
ATTEMPT_S = 20.0
"""An attempt to reach a peer that does not answer lasts longer: four retransmissions."""
FORGOTTEN_S = 150.0
"""What a chassis holds of a peer whose rows have gone is given up after a minute."""


def _joining(underlay: Underlay) -> ClusterSettings:
    """Three chassis, of which the last one does not run yet."""
    plain = ChassisSettings(underlay=underlay)
    absent = replace(plain, ovn_controller=False, ike=False)
    return ClusterSettings(chassis=3, default=plain, special={"h3": absent})


def _vxlan(underlay: Underlay) -> ClusterSettings:
    default = ChassisSettings(underlay=underlay, encap_type="vxlan")
    return ClusterSettings(chassis=2, default=default)


V4, V6 = _joining(Underlay.IPV4), _joining(Underlay.IPV6)
families = pytest.mark.parametrize("cluster", [V4, V6], ids=["ipv4", "ipv6"], indirect=True)
by_ca = pytest.mark.parametrize("cluster", [V4], ids=["ipv4"], indirect=True)
tunnels = pytest.mark.parametrize(
    "cluster",
    [_vxlan(Underlay.IPV4), _vxlan(Underlay.IPV6)],
    ids=["vxlan-ipv4", "vxlan-ipv6"],
    indirect=True,
)


def _start_by_secret(cluster: Cluster) -> None:
    """Let everybody authenticate by a secret, from the first SA on."""
    secret = secrets.token_hex(32)
    for host in cluster.chassis.values():
        proving.place_secret(host, secret)
    proving.option(cluster, proving.AUTH, "psk")


def _start(cluster: Cluster, names: tuple[str, ...]) -> None:
    """Start our programs there, if they do not run yet, and encrypt what runs."""
    running = [name for name in names if CONTROLLER in cluster.chassis[name].daemons]
    if not running:
        cluster.start_ipsec(names)
        wait_until(lambda: all(helpers.digest(cluster, name) for name in names), 120, "digests")
    if not helpers.state(cluster).startswith("enforced"):
        took = helpers.enforce(cluster)
        say("references, enforced", chassis=len(names), seconds=f"{took:.1f}")


# --- peers that are not there, and peers that come later -------------------------------------


@families
def test_peers_that_are_not_there_disturb_nobody(cluster: Cluster) -> None:
    """h3 does not answer, five more chassis come and go: attempts do not start anew each time."""
    h1, h3 = cluster.chassis["h1"], cluster.chassis["h3"]
    if h1.settings.underlay is Underlay.IPV6:
        _start_by_secret(cluster)
    _start(cluster, ("h1", "h2"))
    before, since = _spis(cluster), cluster.wire.mark()
    with helpers.traffic(cluster) as ping:
        cluster.sbctl("chassis-add", h3.name, "geneve", *h3.encap_ips)
        wait_until(lambda: _attempts(h1, h3.name), 60, "an attempt to reach h3")
        begin, first = time.monotonic(), _attempts(h1, h3.name)
        pattern = GHOST_IP[h1.settings.underlay]
        for number, ghost in enumerate(GHOSTS, 1):
            cluster.sbctl("chassis-add", ghost, "geneve", pattern.format(number))
            wait_until(lambda one=ghost: helpers.states_with(h1, one), 60, f"{ghost} known")
        for ghost in GHOSTS:
            cluster.sbctl("chassis-del", ghost)
            wait_until(lambda one=ghost: not _has_tunnel(h1, one), 60, f"{ghost} gone")
        took, more = time.monotonic() - begin, _attempts(h1, h3.name) - first
        say("peers came and went", seconds=f"{took:.1f}", more_attempts=more)
        assert more <= 1 + took // ATTEMPT_S
        assert helpers.states_with(h1, h3.name) == {"blocked"}
        wait_until(lambda: not _ghosts(h1), FORGOTTEN_S, "no trace of a ghost")
        assert _spis(cluster) == before
        assert ping.lost == 0
        ping.assert_encrypted()
    assert cluster.wire.total(Kind.CLEAR, since) == 0


@families
def test_established_pairs_survive_additions(cluster: Cluster) -> None:
    """h3 comes: its pairs come up, carry ESP alone, and the SAs of the others stay."""
    h3 = cluster.chassis["h3"]
    before, since = _spis(cluster), cluster.wire.mark()
    with helpers.traffic(cluster) as ping:
        begin = time.monotonic()
        h3.start_ike()
        h3.start_ipsec()
        wait_until(lambda: _status(h3)["wanted_phase"] == "enforce", 60, "the policy read")
        h3.daemons["ovn-controller"].start()
        helpers.wait_all_encrypted(cluster)
        say("joined", seconds=f"{time.monotonic() - begin:.1f}")
        with helpers.traffic(cluster, "w1", "w3") as joined:
            joined.run(2)
            assert joined.lost == 0
            joined.assert_encrypted()
        assert ping.lost == 0
        ping.assert_encrypted()
    assert _spis(cluster) == before
    assert cluster.wire.total(Kind.CLEAR, since) == 0
    helpers.wait_state(cluster, "enforced")
    six = h3.settings.underlay is Underlay.IPV6
    assert proving.ways(cluster) == {"psk" if six else "ca"}


def _spis(cluster: Cluster) -> dict[Ends, list[str]]:
    """Return the SPIs of h1 with h2, at both ends."""
    ends = (("h1", "h2"), ("h2", "h1"))
    return {
        (name, other): [
            spi
            for one in helpers.peers(cluster.chassis[name])
            if one["peer"] == other
            for spi in one["spis"]
        ]
        for name, other in ends
    }


def _has_tunnel(host: Chassis, peer: str) -> bool:
    return peer in {key.partition("@")[0] for key in helpers.tunnel_ports(host)}


def _attempts(host: Chassis, peer: str) -> int:
    """Return how often a host's IKE daemon has begun to speak to a peer."""
    log = (host.logs / "charon.log").read_text(errors="replace")
    return len(re.findall(rf"initiating IKE_SA ovn-{peer}@", log))


def _ghosts(host: Chassis) -> list[str]:
    """Return what a controller and an IKE daemon still know of them."""
    with proving.ike(host) as session:
        loaded = [name.decode() for name in session.get_conns()["conns"]]
    known = [str(one["peer"]) for one in helpers.peers(host)]
    return [name for name in (*loaded, *known) if "ghost" in name]


def _status(chassis: Chassis) -> dict[str, object]:
    found: dict[str, object] = json.loads(chassis.appctl(CONTROLLER, "status", "json"))
    return found


# --- credentials that are replaced behind a controller's back --------------------------------


@by_ca
def test_credentials_are_replaced_while_a_controller_is_down(cluster: Cluster) -> None:
    """All files at once, the authority too, and h1 learns of it when its controller is back."""
    hosts, h1 = list(cluster.chassis.values()), cluster.chassis["h1"]
    helpers.wait_all_encrypted(cluster)
    before = helpers.spis(cluster)
    keys = proving.held(h1, "get_keys")
    new = Authority(cluster.folder / "pki-new", "lab CA 2")
    new.open()
    with helpers.traffic(cluster) as ping:
        h1.daemons[CONTROLLER].stop()
        for host in hosts:
            proving.place(host, new.issue(host.name), CREDENTIALS)
        ping.run(5)
        down = ping.lost
        logs = [proving.CharonLog(host) for host in hosts]
        begin = time.monotonic()
        h1.daemons[CONTROLLER].start()
        proving.wait_renewed(cluster, before)
        took = time.monotonic() - begin
        ping.run(3)
        say("all replaced", seconds=f"{took:.1f}", lost_down=down, lost=ping.lost, at=ping.lost_at)
        assert ping.lost == 0
        ping.assert_encrypted()
    assert all("lab CA 2" in log.authorities() for log in logs)
    wait_until(lambda: len(proving.held(h1, "get_keys")) == 1, 30, "one key")
    assert not proving.held(h1, "get_keys") & keys
    helpers.wait_state(cluster, "enforced")
    cluster.authority = new


# --- what the northbound's ipsec_ options do -------------------------------------------------

OPTIONS = {
    "ipsec_encapsulation": "true",
    "ipsec_replay-window": "100",
    "ipsec_dpd-delay": "20s",
    "ipsec_dpd-timeout": "120s",
    "ipsec_salifetime": "8h",
}


@by_ca
def test_options_of_the_northbound_reach_every_sa(cluster: Cluster) -> None:
    """ovn-controller passes on what it knows of; the IKE daemon and the kernel do what is asked."""
    hosts = list(cluster.chassis.values())
    with helpers.traffic(cluster) as ping:
        _set(cluster, OPTIONS)
        for host in hosts:
            wait_until(lambda one=host: _heeds(one, len(hosts) - 1), 240, f"on {host.name}")
        wait_until(lambda: _only_in_udp(cluster, ping), 60, "ESP in UDP alone")
        say("options", lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        assert ping.clear == {}
    by_ip = {host.encap_ips[0]: host.name for host in hosts}
    for host in hosts:
        assert len(host.tunnels) == len(hosts) - 1
        for tunnel in host.tunnels:
            options = tunnel["options"]
            assert isinstance(options, dict)
            assert options["remote_name"] == by_ip[options["remote_ip"]]
            assert options["local_ip"] == host.encap_ips[0]
            assert options["ipsec_encapsulation"] == "yes"
    _set(cluster, {})


def _set(cluster: Cluster, options: Mapping[str, str]) -> None:
    """Set these of `OPTIONS` at once, and remove the others."""
    changes: list[list[object]] = [["options", "delete", ["set", [*OPTIONS]]]]
    changes.append(["options", "insert", ["map", [list(item) for item in options.items()]]])
    cluster.nb.transact({"op": "mutate", "table": "NB_Global", "where": [], "mutations": changes})


def _heeds(host: Chassis, peers: int) -> bool:
    """Tell whether all SAs of a host are as the options say."""
    with proving.ike(host) as session:
        delays = {conn.get("dpd_delay") for item in session.list_conns() for conn in item.values()}
        lives = [
            int(child["life-time"])
            for item in session.list_sas()
            for sa in item.values()
            for child in sa["child-sas"].values()
            # Those that it began: a peer that is quicker begins its own before this end knows.
            if child["state"] == b"INSTALLED" and child["name"] == b"out"
        ]
    kernel = host.run(["ip", "xfrm", "state"]).stdout
    return (
        delays == {b"20"}
        and len(lives) == peers
        and all(20_000 < life <= 28_800 for life in lives)
        and len(re.findall(r"encap type espinudp ", kernel)) == 4 * peers
        and len(re.findall(r"replay[-_]window 100\b", kernel)) >= 2 * peers
    )


def _only_in_udp(cluster: Cluster, ping: helpers.Traffic) -> bool:
    since = cluster.wire.mark()
    ping.run(1)
    kinds = {kind for kind, *_ in cluster.wire.counts(since)}
    return kinds - {Kind.IKE} == {Kind.ESP_UDP}


# --- VXLAN, and a secret from the start ------------------------------------------------------


@tunnels
def test_vxlan_is_encrypted_by_a_secret(cluster: Cluster) -> None:
    """Clear VXLAN is seen before, ESP alone afterwards; the ports have the address of each end."""
    _start_by_secret(cluster)
    with helpers.traffic(cluster) as ping:
        ping.run(1)
        ping.assert_in_clear()
        _start(cluster, tuple(cluster.chassis))
        helpers.wait_all_encrypted(cluster)
        ping.run(1)
        ping.mark()
        ping.run(3)
        assert ping.lost == 0
        ping.assert_encrypted()
    assert proving.ways(cluster) == {"psk"}
    for host in cluster.chassis.values():
        (tunnel,) = host.tunnels
        assert tunnel["type"] == "vxlan"
        assert isinstance(tunnel["options"], dict)
        assert tunnel["options"]["local_ip"] == host.encap_ips[0]
        assert {(one["in_port"], one["out_port"]) for one in helpers.peers(host)} == {(4789, 4789)}
