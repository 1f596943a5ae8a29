# SPDX-License-Identifier: Apache-2.0
"""The stock ovs-monitor-ipsec makes the SAs, and the guard and the reports are ours.

The tests of a cluster follow one another: each goes on from where the one before has left it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from ssl import PEM_cert_to_DER_cert

import helpers
import pytest
from helpers import say

from ovn_ipsec.lab.cluster.chassis import CONTROLLER, MONITOR, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.host import python
from ovn_ipsec.lab.cluster.settings import ChassisSettings, ClusterSettings
from ovn_ipsec.lab.waiting import stretched, wait_until

KEY = "ovn-ipsec-ike"
DELEGATE = ChassisSettings(ike=False, other_config={KEY: "delegate"})
MIXED = ClusterSettings(chassis=3, rsa=True, default=DELEGATE, special={"h3": ChassisSettings()})
"""h1 and h2 delegate, and ovn-controller has their ports; on h3 the controller drives charon."""
ALONE = ClusterSettings(
    chassis=2,
    rsa=True,
    default=ChassisSettings(
        ike=False,
        ovn_controller=False,
        other_config={KEY: "delegate", "ovn-ipsec-tunnels": "own"},
    ),
)
"""Both delegate, and nobody but our controllers makes their ports."""
BY_PINS = "enforced (degraded)"
"""Anybody may write the rows of this southbound, which pins make a problem."""
MISSING = "ovs-monitor-ipsec does not run here"

mixed = pytest.mark.parametrize("cluster", [MIXED], indirect=True, ids=["mixed"])
alone = pytest.mark.parametrize("cluster", [ALONE], indirect=True, ids=["alone"])
pinned = pytest.mark.parametrize("cluster", [ALONE], indirect=True, ids=["pinned"])


def _start_stock(hosts: Iterable[Chassis]) -> None:
    with ThreadPoolExecutor(max_workers=2) as pool:
        for job in [pool.submit(one.start_stock_ipsec) for one in hosts]:
            job.result()


def _wait_settled(cluster: Cluster) -> None:
    """Wait until the stock daemon has ended all that it ends whenever a port changes.

    It takes each SA of strongSwan for an outdated one then (it looks for a port ``ovn-h2-0-in``),
    and until it has ended them all, which is slow where the machine is, it answers nobody.
    """
    for host in _delegating(cluster):
        host.run(["ovs-appctl", "-t", MONITOR, "version"], timeout=stretched(180))
    helpers.wait_all_encrypted(cluster)


def _delegating(cluster: Cluster) -> list[Chassis]:
    return [one for one in cluster.chassis.values() if KEY in one.settings.other_config]


def _status(chassis: Chassis) -> dict[str, object]:
    found: dict[str, object] = json.loads(chassis.appctl(CONTROLLER, "status", "json"))
    return found


def _named(chassis: Chassis, option: str) -> dict[str, str | None]:
    """What an option of the tunnel ports says, by peer."""
    ports = helpers.tunnel_ports(chassis).items()
    return {name.partition("@")[0]: dict(one[2]).get(option) for name, one in ports}  # type: ignore[call-overload]


def _remote_names(chassis: Chassis) -> set[str | None]:
    return set(_named(chassis, "remote_name").values())


def _connect(cluster: Cluster) -> None:
    """Connect workloads as ovn-controller would: whatever is sent goes to every other chassis."""
    for host, workload in zip(cluster.chassis.values(), cluster.workloads.values(), strict=True):
        number = len(cluster.chassis) - 1
        wait_until(
            lambda one=host, n=number: helpers.has_tunnel_ports(one, n),
            120,
            f"the ports of {host.name}",
        )
        tunnels = [str(one[0]) for one in helpers.tunnel_ports(host).values()]
        outputs = ",".join(f"output:{tunnel}" for tunnel in tunnels)
        flows = [f"in_port={workload.name},actions=set_field:1->tun_id,{outputs}"]
        flows += [f"in_port={tunnel},actions=output:{workload.name}" for tunnel in tunnels]
        for flow in flows:
            host.run(["ovs-ofctl", "add-flow", "br-int", flow])


def _introduce(cluster: Cluster) -> None:
    """Make the rows that ovn-controller would have made."""
    for host in cluster.chassis.values():
        host.run(["ovs-vsctl", "set-fail-mode", "br-int", "secure"])
        cluster.sbctl("chassis-add", host.name, "geneve", *host.encap_ips)


def _sign_itself(host: Chassis, folder: str) -> str:
    """Give a chassis a certificate as the how-to has it; returns where peers keep it."""
    extensions = (
        f"subjectAltName=DNS:{host.name}",
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
    )
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365"]
    made += ["-config", "/dev/null", "-subj", f"/O=example/CN={host.name}"]
    made += [word for one in extensions for word in ("-addext", one)]
    certificate, key = f"{folder}/cert.pem", f"{folder}/key.pem"
    host.run(["mkdir", "-p", folder])
    host.run([*made, "-keyout", key, "-out", certificate])
    pair = (f"other_config:certificate={certificate}", f"other_config:private_key={key}")
    names = ["ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", *pair]
    host.run([*names, "--", "remove", "Open_vSwitch", ".", "other_config", "ca_cert"])
    digest = sha256(PEM_cert_to_DER_cert(host.read(certificate))).hexdigest()
    return f"/etc/ipsec.d/ovn-ipsec/{digest}.pem"


def _wait_clear(cluster: Cluster, ping: helpers.Traffic) -> None:
    """Wait until the stock daemon has taken its policies and SAs out of the kernel, too.

    Where both ends delete one at the same time, charon may be left without an answer, and gives up
    after 165 s (its default of five retransmissions).
    """
    for host in _delegating(cluster):
        wait_until(lambda one=host: not helpers.leftovers(one), 240, f"{host.name} clean")
    ping.wait_answers()
    ping.mark()
    ping.run(2)
    ping.assert_in_clear()


@mixed
def test_without_the_stock_daemon_nothing_is_prepared(cluster: Cluster) -> None:
    """Its absence is said in the digest, in the status and by the doctor, until it runs."""
    cluster.start_ipsec()
    h1 = cluster.chassis["h1"]
    wait_until(lambda: MISSING in helpers.problem(cluster, "h1"), 120, "the absence named")
    assert MISSING in h1.appctl(CONTROLLER, "status")
    told = h1.run(python("-m", "ovn_ipsec.cli", "doctor"), check=False).stdout
    assert MISSING in told
    assert "enable --now openvswitch-ipsec" in told
    _start_stock(_delegating(cluster))
    for name in ("h1", "h2"):
        wait_until(lambda one=name: not helpers.problem(cluster, one), 60, f"{name} well")
    assert _status(h1)["ike_kind"] == MONITOR


@mixed
def test_ovn_controller_has_the_ports_and_all_is_enforced(cluster: Cluster) -> None:
    """Between two that delegate and with one that does not: nothing is clear once enforced."""
    with (
        helpers.traffic(cluster, "w1", "w2") as both,
        helpers.traffic(cluster, "w3", "w1") as one,
    ):
        took = helpers.enforce(cluster)
        for ping in (both, one):
            say("delegate enforced", seconds=f"{took:.1f}", lost=ping.lost, sent=ping.sent)
            ping.mark()
        _wait_settled(cluster)
        for ping in (both, one):
            ping.wait_answers()
            say("stock daemons settled", lost=ping.lost, sent=ping.sent)
            assert ping.clear == {}, ping.clear
            ping.mark()
        both.run(3)
        for ping in (both, one):
            assert ping.lost == 0
            ping.assert_encrypted()
    (found,) = [peer for peer in helpers.peers(cluster.chassis["h1"]) if peer["peer"] == "h2"]
    assert (found["state"], found["auth"], found["esp"]) == ("encrypted", "ca", 2)


@mixed
def test_nothing_is_clear_while_the_stock_daemon_is_stopped(cluster: Cluster) -> None:
    """What it takes out of the kernel when it ends, the guard denies; then it is up again."""
    h1 = cluster.chassis["h1"]
    with helpers.traffic(cluster, "w1", "w2") as ping:
        h1.run(["ovs-appctl", "-t", MONITOR, "exit"])
        wait_until(lambda: not h1.daemons[MONITOR].is_alive, 60, "the stock daemon ended")
        h1.daemons.pop(MONITOR)
        h1.run(["ipsec", "stop"])
        wait_until(lambda: helpers.states_with(h1, "h2") == {"blocked"}, 60, "h1-h2 blocked")
        wait_until(lambda: MISSING in helpers.problem(cluster, "h1"), 60, "the absence named")
        ping.run(2)
        assert ping.lost > 0
        assert ping.clear == {}, ping.clear
        h1.start_stock_ipsec()
        wait_until(lambda: helpers.states_with(h1, "h2") == {"encrypted"}, 120, "h1-h2 encrypted")
        _wait_settled(cluster)
        took = ping.wait_answers()
        say("stock daemon stopped and started", answers_s=f"{took:.1f}", lost=ping.lost)
        assert ping.clear == {}, ping.clear
    helpers.wait_state(cluster, "enforced")


@mixed
def test_a_restarted_controller_finds_the_pairs(cluster: Cluster) -> None:
    """No packet is lost or clear: nothing that encrypts depends on it."""
    h1 = cluster.chassis["h1"]
    before = helpers.spis(cluster)["h1", "h2"]
    with helpers.traffic(cluster, "w1", "w2") as ping:
        h1.daemons[CONTROLLER].kill()
        h1.daemons[CONTROLLER].start()
        wait_until(lambda: helpers.all_encrypted(h1, number=2), 60, "all pairs of h1")
        ping.run(1)
        assert ping.lost == 0
        ping.assert_encrypted()
    assert helpers.spis(cluster)["h1", "h2"] == before


@mixed
def test_a_rule_leaves_a_pair_clear_and_takes_it_back(cluster: Cluster) -> None:
    """Although the stock daemon has SAs for it, and although ovn-controller has the ports."""
    hosts = (cluster.chassis["h1"], cluster.chassis["h2"])
    rule = "options:ovn-ipsec-rule-10"
    with (
        helpers.traffic(cluster, "w1", "w2") as ping,
        helpers.traffic(cluster, "w3", "w1") as other,
    ):
        cluster.nbctl("set", "NB_Global", ".", f'{rule}="chassis:h1 chassis:h2 off"')
        wait_until(lambda: helpers.states_with(hosts[0], "h2") == {"clear"}, 60, "h1-h2 clear")
        wait_until(lambda: helpers.states_with(hosts[1], "h1") == {"clear"}, 60, "h2-h1 clear")
        ping.wait_answers()
        wait_until(lambda: len({key[1:] for key in ping.clear}) >= 2, 60, "clear both ways")
        ping.mark()
        ping.run(2)
        ping.assert_in_clear()
        cluster.nbctl("remove", "NB_Global", ".", *rule.split(":"))
        for one, peer in (hosts, hosts[::-1]):
            wait_until(
                lambda a=one, b=peer.name: helpers.states_with(a, b) == {"encrypted"},
                120,
                f"{one.name} encrypted",
            )
        helpers.wait_state(cluster, "enforced")
        say("rule and back", lost=ping.lost, sent=ping.sent)
        ping.mark()
        ping.run(2)
        ping.assert_encrypted()
        assert {key[1:] for key in other.clear} <= {
            (a.encap_ips[0], b.encap_ips[0]) for a, b in (hosts, hosts[::-1])
        }


@mixed
def test_switched_off_nothing_is_left(cluster: Cluster) -> None:
    """The stock daemon ends what it has made, and the guard is gone."""
    with helpers.traffic(cluster, "w1", "w2") as ping:
        helpers.relax(cluster)
        _wait_clear(cluster, ping)


@alone
def test_ports_of_our_own_carry_what_the_stock_daemon_needs(cluster: Cluster) -> None:
    """From off to enforced to off; a port names its peer only while the pair is to be encrypted."""
    hosts = list(cluster.chassis.values())
    _introduce(cluster)
    _start_stock(hosts)
    cluster.start_ipsec()
    _connect(cluster)
    assert _remote_names(hosts[0]) == {None}
    with helpers.traffic(cluster) as ping:
        took = helpers.enforce(cluster)
        say("delegate alone enforced", seconds=f"{took:.1f}", lost=ping.lost, sent=ping.sent)
        ping.mark()
        assert (_remote_names(hosts[0]), _remote_names(hosts[1])) == ({"h2"}, {"h1"})
        _wait_settled(cluster)
        ping.wait_answers()
        say("stock daemons settled", lost=ping.lost, sent=ping.sent)
        assert ping.clear == {}, ping.clear
        ping.mark()
        ping.run(3)
        assert ping.lost == 0
        ping.assert_encrypted()
        helpers.relax(cluster)
        assert _remote_names(hosts[0]) == {None}
        _wait_clear(cluster, ping)


@pinned
def test_peers_pin_the_certificates_that_chassis_have_signed_themselves(cluster: Cluster) -> None:
    """From off to enforced, with another certificate of one chassis, and off again."""
    hosts = h1, h2 = _delegating(cluster)
    _introduce(cluster)
    files = [_sign_itself(host, "/etc/ipsec.d/first") for host in hosts]
    cluster.nbctl("set", "NB_Global", ".", "options:ovn-ipsec-auth=pinned")
    _start_stock(hosts)
    cluster.start_ipsec()
    _connect(cluster)
    with helpers.traffic(cluster) as ping:
        helpers.switch(cluster, on=True)
        took = helpers.wait_state(cluster, BY_PINS, 300)
        say("pinned enforced", seconds=f"{took:.1f}", lost=ping.lost, sent=ping.sent)
        ping.mark()
        _wait_settled(cluster)
        ping.wait_answers()
        assert ping.clear == {}, ping.clear
        ping.mark()
        ping.run(3)
        assert ping.lost == 0
        ping.assert_encrypted()
        assert _remote_names(h1) == {None}
        assert (_named(h1, "remote_cert"), _named(h2, "remote_cert")) == (
            {"h2": files[1]},
            {"h1": files[0]},
        )
        assert {found["auth"] for host in hosts for found in helpers.peers(host)} == {"pinned"}
        before = helpers.spis(cluster)
        after = _sign_itself(h1, "/etc/ipsec.d/second")
        wait_until(lambda: _named(h2, "remote_cert") == {"h1": after}, 120, "h2 pins the new one")
        for ends in (("h1", "h2"), ("h2", "h1")):
            wait_until(
                lambda pair=ends: (
                    helpers.states_with(cluster.chassis[pair[0]], pair[1]) == {"encrypted"}
                    and set(helpers.spis(cluster)[pair]).isdisjoint(before[pair])
                ),
                180,
                f"{ends[0]} encrypts anew",
            )
        _wait_settled(cluster)
        ping.wait_answers()
        say("another certificate", lost=ping.lost, sent=ping.sent)
        assert ping.clear == {}, ping.clear
        ping.mark()
        ping.run(2)
        assert ping.lost == 0
        ping.assert_encrypted()
        helpers.wait_state(cluster, BY_PINS)
        assert helpers.peers(h1)[0]["auth"] == "pinned"
        helpers.relax(cluster)
        assert _named(h1, "remote_cert") == {"h2": None}
        _wait_clear(cluster, ping)
