# SPDX-License-Identifier: Apache-2.0
"""The laboratory without the product: what it shows must be true before anything is encrypted."""

from __future__ import annotations

import time
from pathlib import Path

import by_hand

from ovn_ipsec.lab.cluster import upcalls
from ovn_ipsec.lab.cluster.chassis import VSWITCHD
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.guest import initramfs
from ovn_ipsec.lab.waiting import stretched, wait_until
from ovn_ipsec.lab.witness.wire import Kind


def test_workloads_reach_each_other_without_loss(cluster: Cluster) -> None:
    """Twenty packets a second between two chassis all come back."""
    with cluster.pinging("w1", "w2") as pinger:
        first = pinger.mark()
        wait_until(lambda: pinger.received_since(first), 30, "a first answer")
        start = pinger.mark()
        wait_until(lambda: pinger.sent_since(start) > 60, 30, "60 pings")
        end = pinger.mark()
        assert pinger.lost_since(start, end) == 0
        assert pinger.longest_gap(start, end) < stretched(1.0)


def test_wire_sees_clear_geneve_in_both_directions(cluster: Cluster) -> None:
    """Without encryption the witness sees each packet once, in clear, and nothing else."""
    with cluster.pinging("w1", "w2") as pinger:
        first = pinger.mark()
        wait_until(lambda: pinger.received_since(first), 30, "a first answer")
        start, since = pinger.mark(), cluster.wire.mark()
        wait_until(lambda: pinger.sent_since(start) > 40, 30, "40 pings")
        end = pinger.mark()
        # Once they are answered they were on the wire, and so may be some that were sent later.
        assert pinger.lost_since(start, end) == 0
        flows = cluster.wire.counts(since)
        h1, h2 = (cluster.chassis[name].encap_ips[0] for name in ("h1", "h2"))
        least, most = pinger.sent_since(start, end) - 3, pinger.sent_since(start) + 3
        assert least <= flows[Kind.CLEAR, h1, h2].count <= most
        assert least <= flows[Kind.CLEAR, h2, h1].count <= most
        assert cluster.wire.total(Kind.ESP, since) == 0


def test_pinger_counts_exactly_what_a_closed_link_loses(cluster: Cluster) -> None:
    """Loss starts when the link goes down and ends when it comes back."""
    chassis = cluster.chassis["h2"]
    with cluster.pinging("w1", "w2") as pinger:
        first = pinger.mark()
        wait_until(lambda: pinger.received_since(first), 30, "a first answer")
        chassis.run(
            [
                "nft",
                "add table inet cut; add chain inet cut in { type filter hook input "
                "priority 0; }; add rule inet cut in udp dport 6081 drop",
            ]
        )
        start = pinger.mark()
        time.sleep(1)
        wait_until(lambda: pinger.sent_since(start) > 5, 30, "some pings")
        end = pinger.mark()
        chassis.run(["nft", "delete table inet cut"])
        assert pinger.lost_since(start, end) == pinger.sent_since(start, end)
        assert pinger.longest_gap(start, end) >= 1.0
        healed = pinger.mark()
        wait_until(lambda: pinger.received_since(healed) > 5, 30, "answers again")


def test_every_chassis_has_a_tunnel_to_every_other(cluster: Cluster) -> None:
    """OVN made the full mesh, and each IKE daemon answers."""
    for one in cluster.chassis.values():
        assert len(one.tunnels) == len(cluster.chassis) - 1
        assert one.daemons["charon"].is_alive


def test_credentials_are_readable_by_their_host_alone(cluster: Cluster) -> None:
    """Each host has its own certificate at the same path, with a key that others cannot read."""
    paths = [one.path("/etc/ovn-ipsec/tls/key.pem") for one in cluster.chassis.values()]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert len({path.read_text() for path in paths}) == len(paths)


def test_switch_on_a_young_clock_is_told_from_one_that_forwards(cluster: Cluster) -> None:
    """Started before its first count of the processors it takes no upcall; later it does."""
    h3 = cluster.chassis["h3"]
    assert h3.forwards
    daemon = h3.daemons[VSWITCHD]
    daemon.stop()
    log = h3.logs / "young.log"
    files = [f"--log-file={log}", "--unixctl=/run/openvswitch/young.ctl"]
    argv = [VSWITCHD, "-vconsole:off", *files]
    with h3.popen(["sh", "-c", f"exec {initramfs.just_booted(argv)}"]) as young:
        try:
            wait_until(lambda: upcalls.began_too_early(log.read_text()), 60, "a datapath")
            (pid,) = (int(one) for one in _children(young.pid))
            assert upcalls.handlers(pid) == 0
        finally:
            young.kill()
    daemon.start()
    wait_until(lambda: h3.forwards, 60, "upcalls taken")
    with cluster.pinging("w1", "w3") as pinger:
        first = pinger.mark()
        wait_until(lambda: pinger.received_since(first) > 5, 30, "answers")


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_wire_sees_esp_alone_when_a_pair_is_encrypted_by_hand(cluster: Cluster) -> None:
    """The witness tells ESP from clear text, and the other pairs stay in clear."""
    h1, h3 = cluster.chassis["h1"], cluster.chassis["h3"]
    ends = (h1.encap_ips[0], h3.encap_ips[0])
    with cluster.pinging("w1", "w3") as pinger:
        by_hand.encrypt(h1, h3)
        try:
            begin = cluster.wire.mark()
            both = {(Kind.ESP, *ends), (Kind.ESP, *reversed(ends))}
            wait_until(lambda: both <= cluster.wire.counts(begin).keys(), 60, "ESP both ways")
            first = pinger.mark()
            wait_until(lambda: pinger.received_since(first) > 5, 30, "answers through ESP")
            since, first = cluster.wire.mark(), pinger.mark()
            wait_until(lambda: pinger.received_since(first) > 30, 30, "30 answers")
            flows = cluster.wire.counts(since)
            assert flows[Kind.ESP, *ends].count > 20
            assert (Kind.CLEAR, *ends) not in flows
            assert (Kind.CLEAR, *reversed(ends)) not in flows
        finally:
            by_hand.clear(h1, h3)
