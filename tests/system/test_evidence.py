# SPDX-License-Identifier: Apache-2.0
"""What a chassis says of its encryption, beside what the wire and the kernel have shown.

The witness counts ESP packets outside the hosts. The document is made while nothing is sent, so its
figures and those of the witness are about the same packets.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import helpers
import pytest
import stranger
from cryptography import x509
from helpers import say

from ovn_ipsec.evidence.events import JOURNAL
from ovn_ipsec.evidence.ledger import Ledger
from ovn_ipsec.lab import namespaces
from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.host import python
from ovn_ipsec.lab.waiting import wait_until

PING_BYTES = 8 + 16 + 14 + 20 + 8 + 56
"""A ping inside ESP: UDP, Geneve with OVN's option, Ethernet, IPv4, ICMP, what is in it."""
LEAST_BYTES = 8 + 16 + 14 + 28
"""Any other packet that may be on its way: an ARP."""
OUT, IN = 7, 5
"""Clear packets that are sent on purpose, from this chassis and to it."""
JOURNAL_FILE = f"/var/lib/ovn-ipsec/{JOURNAL}"
SAS = 8
"""Of two pairs with two children each, while none is being replaced."""
REKEY_S = 30
"""A replaced CHILD_SA stays for 5 s (delete_rekeyed_delay of strongSwan)."""
FIGURES = ("out_packets", "in_packets", "out_bytes", "in_bytes", "rekeys")


@pytest.fixture
def acquainted(enforced: Cluster) -> Cluster:
    """Every pair is encrypted, and h1's charon knows no certificates but those that peers have now.

    One that has others in the same name, from before a renewal, does not say which was shown.
    """
    stop_charon(enforced)
    enforced.chassis["h1"].daemons["charon"].start()
    helpers.wait_all_encrypted(enforced)
    helpers.wait_state(enforced, "enforced")
    return enforced


def stop_charon(cluster: Cluster) -> None:
    """Stop that of h1, and wait until this is known everywhere."""
    cluster.chassis["h1"].daemons["charon"].stop()

    def blocked() -> bool:
        return helpers.pair_counts(cluster, "h1").get("blocked") == 2

    wait_until(blocked, 60, "h1 reports its pairs blocked", every=0.1)


def evidence(chassis: Chassis) -> dict[str, Any]:
    """What the controller says."""
    found: dict[str, Any] = json.loads(chassis.appctl(CONTROLLER, "evidence/show"))
    return found


def of_journal(chassis: Chassis) -> dict[str, Any]:
    """What the command reads where no controller answers."""
    done = chassis.run(python("-m", "ovn_ipsec.cli", "--json", "evidence"))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pair_with(found: dict[str, Any], peer: str) -> dict[str, Any]:
    """The part about one peer."""
    (pair,) = [one for one in found["pairs"] if one["peer"] == peer]
    return pair


def figures(found: dict[str, Any], peer: str) -> dict[str, int]:
    """What was carried with one peer."""
    protected = pair_with(found, peer)["protected"]
    return {name: protected[name] for name in FIGURES}


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What was added."""
    return {name: after[name] - before[name] for name in before}


def test_figures_agree_with_the_wire_across_a_rekey_and_a_killed_controller(
    acquainted: Cluster,
) -> None:
    """Packets are those of the witness, though SAs ended and nobody looked for a while."""
    cluster = acquainted
    h1, h2 = cluster.chassis["h1"], cluster.chassis["h2"]
    ends = (h1.encap_ips[0], h2.encap_ips[0])
    known = evidence(h1)
    begin, mark = figures(known, "h2"), cluster.wire.mark()
    with helpers.traffic(cluster) as ping:
        ping.run(2)
        h1.run(["swanctl", "--rekey", "--child", "out"])

        def replaced() -> bool:
            noted = Ledger.of(h1.read(JOURNAL_FILE)).pairs.values()
            done = all(pair.sums.rekeys for pair in noted if pair.peer in ("h2", "h3"))
            states = h1.run(["ip", "xfrm", "state"]).stdout
            return done and states.count("proto esp spi") == SAS

        wait_until(replaced, REKEY_S, "CHILD_SAs replaced, and the old ones gone", every=0.5)
        h1.daemons[CONTROLLER].kill()
        ping.run(3)
        away = of_journal(h1)
        h1.daemons[CONTROLLER].start()
        helpers.wait_all_encrypted(cluster)
        ping.run(2)
        pings = ping.sent
        assert ping.lost == 0
    found = evidence(h1)
    wire = cluster.wire.counts(mark)
    added = grown(begin, figures(found, "h2"))
    esp = {kind.value: flow.count for (kind, *way), flow in wire.items() if tuple(way) == ends}
    back = {kind.value: f.count for (kind, *way), f in wire.items() if tuple(way) == ends[::-1]}
    say("evidence", pings=pings, esp=esp, back=back, **added)

    assert added["out_packets"] == esp["esp"]
    assert added["in_packets"] == back["esp"]
    for way in ("out", "in"):
        packets, size = added[f"{way}_packets"], added[f"{way}_bytes"]
        assert PING_BYTES * pings <= size <= PING_BYTES * packets
        assert size >= LEAST_BYTES * packets
    assert added["rekeys"] == 1
    pair = pair_with(found, "h2")
    assert pair["protected"]["at_least"] is False
    # Before, meanwhile and after, in three documents: the same pair, encrypted all the time.
    since = pair_with(known, "h2")["encrypted_since"]
    assert pair_with(away, "h2")["encrypted_since"] == pair["encrypted_since"] == since
    assert (away["source"], found["source"]) == ("journal", "controller")
    assert not pair_with(away, "h2")["state_is_current"]
    gap = found["observed"]["gaps"][-1]
    assert gap["controller_ended"] == "not orderly"
    assert not gap["rebooted"]
    assert gap["counted_by"] == ["nft", "xfrm"]
    assert pair["not_observed"][-1]["same_sas_before_and_after"]
    assert_method(pair, h2)
    assert found["guard"]["clear_passed"] == known["guard"]["clear_passed"]


def test_what_is_denied_while_the_ike_daemon_is_down_is_counted_exactly(enforced: Cluster) -> None:
    """Seven packets out and five in are denied, none passes, and the journal says so as well."""
    cluster = enforced
    h1, h2 = cluster.chassis["h1"], cluster.chassis["h2"]
    stop_charon(cluster)
    before, mark = evidence(h1), cluster.wire.mark()
    with namespaces.inside_network(Path("/run/netns") / h1.name):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    refused = 0
    with sender:
        for _ in range(OUT):
            try:
                sender.sendto(bytes(64), (h2.encap_ips[0], stranger.GENEVE))
            except OSError:
                refused += 1
    with stranger.on_the_underlay() as network:
        for _ in range(IN):
            stranger.inject(network, cluster, "w2", "w1", b"let me in")

        def counted() -> bool:
            return denied(evidence(h1)) - denied(before) >= OUT + IN

        wait_until(counted, 30, "denied packets counted", every=0.2)
    after = evidence(h1)
    say("denied", refused=refused, out=OUT, into=IN, found=denied(after) - denied(before))
    assert denied(after) - denied(before) == OUT + IN
    assert after["guard"]["clear_passed"] == before["guard"]["clear_passed"]
    assert not [key for key in cluster.wire.counts(mark) if key[:2] == ("clear", h1.encap_ips[0])]
    pair = pair_with(after, "h2")
    assert (pair["state"], pair["encrypted_since"]) == ("blocked", None)
    assert pair["encrypted"][-1]["end_was_seen"]
    assert pair["clear_denied_since"] is not None
    h1.daemons[CONTROLLER].stop()
    away = of_journal(h1)
    assert denied(away) == denied(after)
    assert away["observed"]["gaps"][-1]["controller_ended"] == "orderly"
    h1.daemons[CONTROLLER].start()
    h1.daemons["charon"].start()
    helpers.wait_all_encrypted(cluster)
    helpers.wait_state(cluster, "enforced")


def assert_method(pair: dict[str, Any], peer: Chassis) -> None:
    """How the pair is protected, and with which certificate the peer has proved who it is."""
    method = pair["methods"][-1]
    assert (method["authentication"], method["key_bits"]) == ("ca", 256)
    assert method["peer_identity"] == "h2"
    shown = method["peer_certificate"]
    assert shown["subject"].startswith("CN=h2,")
    assert shown["serial"] == serial(peer)


def serial(chassis: Chassis) -> str:
    """Of its certificate, in hex."""
    path = chassis.ovs.row("Open_vSwitch", "other_config")["other_config"]["certificate"]
    certificate = x509.load_pem_x509_certificate(chassis.read(path).encode())
    return f"{certificate.serial_number:x}"


def denied(found: dict[str, Any]) -> int:
    """Packets that both layers have denied."""
    number: int = found["guard"]["clear_denied"]
    return number
