# SPDX-License-Identifier: Apache-2.0
"""OVN-IC: two availability zones with one gateway each, joined by a transit switch and ovn-ic."""

from __future__ import annotations

from dataclasses import dataclass

import helpers
import pytest
from helpers import say

from ovn_ipsec.lab.cluster.central import NB_SOCKET, SB_SOCKET, Central
from ovn_ipsec.lab.cluster.chassis import Chassis
from ovn_ipsec.lab.cluster.cluster import SWITCH, Cluster
from ovn_ipsec.lab.cluster.host import Host
from ovn_ipsec.lab.cluster.jsonrpc import Database
from ovn_ipsec.lab.cluster.settings import CENTRAL_IPV4, ChassisSettings, ClusterSettings
from ovn_ipsec.lab.cluster.workload import Workload, ip_batch, logical_words
from ovn_ipsec.lab.waiting import wait_until
from ovn_ipsec.lab.witness.wire import Kind

GATEWAY = {"ovn-is-interconn": "true"}
SETTINGS = ClusterSettings(
    chassis=2,
    special={
        "h1": ChassisSettings(external_ids=GATEWAY),
        "h2": ChassisSettings(
            external_ids={**GATEWAY, "ovn-remote": f"unix:{SB_SOCKET}"}, workloads=0
        ),
    },
)
"""The databases of the second zone run on its only chassis."""
IC_SOCKET = "/run/ovn/ic.sock"
IC_PORT = 6645
TRANSIT = "ts1"
REMOTE = Workload(
    name="w2", chassis="h2", ip="192.168.1.2", ipv6="fd0b::2", mac="02:00:00:00:00:02"
)
APART = "across zones: pairs 1 encrypted 0 pending {pending} blocked {blocked}, not waited for"


@dataclass(frozen=True)
class Zone:
    """One of the zones; what helpers ask of a cluster, it answers for itself."""

    name: str
    number: int
    central: Central
    gateway: Chassis

    @property
    def nb(self) -> Database:
        """Its northbound."""
        return self.central.nb

    @property
    def sb(self) -> Database:
        """Its southbound."""
        return self.central.sb

    @property
    def chassis(self) -> dict[str, Chassis]:
        """Those that are no copies."""
        return {self.gateway.name: self.gateway}

    def nbctl(self, *arguments: str) -> str:
        """Run ovn-nbctl in this zone."""
        return self.central.run(["ovn-nbctl", f"--db=unix:{NB_SOCKET}", *arguments]).stdout

    def on(self, *options: str) -> None:
        """Switch on, with these options of NB_Global."""
        words = [f"options:ovn-ipsec-{option}" for option in options]
        self.nbctl("set", "NB_Global", ".", "ipsec=true", *words)

    def rule(self, number: int, text: str) -> None:
        """Set a rule."""
        self.nbctl("set", "NB_Global", ".", f'options:ovn-ipsec-rule-{number}="{text}"')

    def follows(self, line: str) -> bool:
        """Whether the southbound has a rule, and the operator is told of what it has now."""
        held = self.sb.row("SB_Global", "external_ids")["external_ids"]
        told = helpers.nb_report(self).get("ovn-ipsec-generation")
        return line in held.get("ovn-ipsec-rules", "") and held["ovn-ipsec-generation"] == told

    def join(self, switch: str, subnet: str, workloads: str) -> None:
        """Make a router between a logical switch and the transit switch, for the gateway."""
        router, near = f"r{self.number}", f"169.254.100.{self.number}"
        far, mac = f"169.254.100.{3 - self.number}", f"02:00:00:00:01:{self.number:02x}"
        words = f"lr-add {router}"
        for port, on, address, hardware in (
            (f"{router}-net", switch, f"{subnet}.254/24", mac.replace(":01:", ":02:")),
            (f"{router}-ts", TRANSIT, f"{near}/24", mac),
        ):
            words += f" -- lrp-add {router} {port} {hardware} {address}"
            words += f" -- lsp-add {on} {port}-s -- lsp-set-type {port}-s router"
            words += f" -- lsp-set-addresses {port}-s router"
            words += f" -- lsp-set-options {port}-s router-port={port}"
        words += f" -- lrp-set-gateway-chassis {router}-ts {self.gateway.name} 1"
        words += f" -- lr-route-add {router} {workloads} {far}"
        self.nbctl(*words.split())


def start_ic(host: Host) -> None:
    """Start the ovn-ic of the zone whose databases a host has."""
    there = f"tcp:{CENTRAL_IPV4}:{IC_PORT}"
    argv = ["ovn-ic", "--pidfile", f"--log-file={host.logs}/ovn-ic.log"]
    argv += [f"--ovnnb-db=unix:{NB_SOCKET}", f"--ovnsb-db=unix:{SB_SOCKET}"]
    host.daemon("ovn-ic", [*argv, f"--ic-nb-db={there}", f"--ic-sb-db={there}"]).start()


@pytest.fixture(scope="module")
def zones(cluster: Cluster) -> tuple[Zone, Zone]:
    """Both zones with all daemons, a router each, and workloads that reach each other."""
    central, host = cluster.central, cluster.chassis["h2"]
    second = Central(host.name, host.folder, cluster.settings)
    second._holder = host.holder
    second.start()
    made = (
        Zone("az1", 1, central, cluster.chassis["h1"]),
        Zone("az2", 2, second, host),
    )
    files = [f"{central.folder}/ic-{kind}.db" for kind in ("nb", "sb")]
    for kind, file in zip(("nb", "sb"), files, strict=True):
        central.run(["ovsdb-tool", "create", file, f"/usr/share/ovn/ovn-ic-{kind}.ovsschema"])
    argv = ["ovsdb-server", f"--remote=punix:{IC_SOCKET}", f"--remote=ptcp:{IC_PORT}:0.0.0.0"]
    argv += ["--unixctl=/run/ovn/ic.ctl", "--pidfile=/run/ovn/ic.pid", *files]
    central.daemon("ovsdb-ic", argv, socket=IC_SOCKET).start()
    for kind in ("nb", "sb"):
        central.run([f"ovn-ic-{kind}ctl", f"--db=unix:{IC_SOCKET}", "init"])
    central.run(["ovn-ic-nbctl", f"--db=unix:{IC_SOCKET}", "ts-add", TRANSIT])
    for zone in made:
        zone.nbctl("set", "NB_Global", ".", f"name={zone.name}")
        start_ic(zone.central)

        def has_transit(zone: Zone = zone) -> bool:
            return TRANSIT in {row["name"] for row in zone.nb.rows("Logical_Switch", "name")}

        wait_until(has_transit, 60, f"the transit switch in {zone.name}")
    made[1].nbctl(*logical_words("net2", [REMOTE]))
    cluster._attach(REMOTE)
    cluster.workloads[REMOTE.name] = REMOTE
    made[0].join(SWITCH, "192.168.0", "192.168.1.0/24")
    made[1].join("net2", "192.168.1", "192.168.0.0/24")
    ip_batch(["route add 192.168.1.0/24 via 192.168.0.254"], "w1")
    ip_batch(["route add 192.168.0.0/24 via 192.168.1.254"], "w2")
    cluster.start_ipsec()
    second.start_ipsec()
    host.daemons.update(second.daemons)
    for zone in made:
        wait_until(
            lambda zone=zone: helpers.digest(zone, zone.gateway.name), 120, f"digest in {zone.name}"
        )
    return made


def told_apart(zone: Zone, *, pending: int = 0, blocked: int = 0) -> None:
    """Wait until a zone says that its pair with the other zone is not up."""
    words = APART.format(pending=pending, blocked=blocked)
    wait_until(lambda: words in helpers.summary(zone), 60, f"{zone.name}: {words}")


def nothing_leaves(zone: Zone, ping: helpers.Traffic) -> None:
    """Assert that a zone that enforces lets nothing out while the other one is clear."""
    assert ping.received == 0
    assert ping.esp == {}
    (ours,) = zone.gateway.encap_ips
    assert not [key for key in ping.clear if key[0] is Kind.CLEAR and key[1] == ours]


@pytest.mark.parametrize("cluster", [SETTINGS], ids=["two-zones"], indirect=True)
def test_two_zones_encrypt_what_a_transit_switch_carries(
    cluster: Cluster, zones: tuple[Zone, Zone]
) -> None:
    """First where clear text may pass, one after the other; then enforced; then one goes off."""
    first, second = zones
    with helpers.traffic(cluster) as ping:
        ping.run(1)
        ping.assert_in_clear()
        first.on("mode=prefer")
        took = helpers.wait_state(first, "established (degraded)")
        told_apart(first, pending=1)
        assert helpers.state(second) in ("", "off")
        say("one zone is on", seconds=f"{took:.1f}", lost=ping.lost, sent=ping.sent)
        second.on("mode=prefer")
        took = max(helpers.wait_state(zone, "established") for zone in zones)
        say("both are on", seconds=f"{took:.1f}", lost=ping.lost, sent=ping.sent)
        for zone in zones:
            zone.nbctl("remove", "NB_Global", ".", "options", "ovn-ipsec-mode")
        took = max(helpers.wait_state(zone, "enforced") for zone in zones)
        say("both are enforced", seconds=f"{took:.1f}", lost=ping.lost, sent=ping.sent)
        ping.run(1)
        ping.mark()
        ping.run(3)
        assert ping.lost == 0
        ping.assert_encrypted()
        helpers.relax(second)
        helpers.wait_state(first, "enforced (degraded)")
        told_apart(first, blocked=1)
        ping.mark()
        ping.run(3)
        say("one zone is off", received=ping.received, sent=ping.sent, clear=ping.clear)
        nothing_leaves(first, ping)
        second.on()
        took = max(helpers.wait_state(zone, "enforced") for zone in zones)
        answers = ping.wait_answers()
        say("on again", seconds=f"{took:.1f}", answers_s=f"{answers:.1f}")
        ping.mark()
        ping.run(3)
        assert ping.lost == 0
        ping.assert_encrypted()


@pytest.mark.parametrize("cluster", [SETTINGS], ids=["two-zones"], indirect=True)
def test_rules_say_what_passes_between_zones(cluster: Cluster, zones: tuple[Zone, Zone]) -> None:
    """Required by both, in a suite of its own; off in one; off in both; required again."""
    first, second = zones
    required = "any remote:any require profile=aes256-sha256"

    def wait(zone: Zone, state: str, rule: str) -> float:
        """Wait for a state of a zone since it has a rule."""
        wait_until(lambda: zone.follows(f"100 {rule}"), 60, f"{zone.name}: {rule}")
        return helpers.wait_state(zone, state)

    def strong(host: Chassis) -> bool:
        return all("HMAC_SHA2_256" in str(one["suite"]) for one in helpers.peers(host))

    def require() -> None:
        for zone in zones:
            zone.rule(100, required)
        took = max(wait(zone, "enforced", required) for zone in zones)
        for zone in zones:
            wait_until(lambda host=zone.gateway: strong(host), 60, f"the suite on {zone.name}")
        answers = ping.wait_answers()
        say("required across zones", seconds=f"{took:.1f}", answers_s=f"{answers:.1f}")
        ping.mark()
        ping.run(3)
        assert ping.lost == 0
        ping.assert_encrypted()

    with helpers.traffic(cluster) as ping:
        for zone in zones:
            zone.rule(50, "any any off")
            zone.on("mode=prefer")
        require()
        theirs = f"remote:chassis:{first.gateway.name} any off"
        second.rule(100, theirs)
        wait(second, "established", theirs)
        helpers.wait_state(first, "enforced (degraded)")
        told_apart(first, blocked=1)
        ping.mark()
        ping.run(3)
        say("off in one zone", received=ping.received, sent=ping.sent, clear=ping.clear)
        nothing_leaves(first, ping)
        ours_too = f"any remote:cidr:{second.gateway.encap_ips[0]}/32 off"
        first.rule(100, ours_too)
        wait(first, "established", ours_too)
        answers = ping.wait_answers()
        say("off in both zones", answers_s=f"{answers:.1f}")
        ping.mark()
        ping.run(3)
        assert ping.lost == 0
        ping.assert_in_clear()
        require()
