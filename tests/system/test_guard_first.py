# SPDX-License-Identifier: Apache-2.0
"""The guard comes first: before whatever fails at a start, and whatever hangs beside it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import faults
import helpers
import pytest
from faults import NORTHD, SHOWN_S
from helpers import say

from controller.ike.strongswan import DEADLINE_S, HELLO_S
from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import CENTRAL_IPV4
from ovn_ipsec.lab.waiting import stretched, wait_until
from ovn_ipsec.lab.witness.wire import Kind, Mark

METRICS_PORT = 9476
GUARD_S = 60.0
"""For the guard to be back: a question to the IKE daemon that was asked before ends first."""
CLEARED = "nft flush ruleset; ip xfrm policy flush; ip xfrm state flush"
"""What a reboot does to the kernel's tables."""
NO_ESP = Path("/etc/modprobe.d/ovn-ipsec-lab.conf")
ESP = ("esp4", "esp6")


# --- a start in which everything fails -------------------------------------------------------


def test_start_after_a_reboot_with_a_torn_state_and_a_taken_port_lets_nothing_out(
    enforced: Cluster,
) -> None:
    """h3 begins with half files, its metrics port taken, and no southbound: the guard is up."""
    cluster, h3 = enforced, enforced.chassis["h3"]
    h3.daemons[CONTROLLER].kill()
    h3.daemons["charon"].kill()
    assert any(name.startswith("boot-guard") for name in faults.tear(h3))
    try:
        with faults.taken(h3, METRICS_PORT), faults.cut_off(h3, CENTRAL_IPV4):
            h3.run(["sh", "-c", CLEARED])
            assert not faults.guards(h3)
            h3.start_ipsec(f"--metrics-port={METRICS_PORT}")
            wait_until(lambda: faults.guards(h3), 30, "the guard of h3")
            # Nobody has pinged before: as after a boot, no port was there to send through.
            since = cluster.wire.mark()
            with cluster.pinging("w3", "w1") as pinger, cluster.pinging("w1", "w3"):
                first = pinger.mark()
                wait_until(lambda: pinger.sent_since(first) > SHOWN_S * 20, 60, "pings sent")
                assert pinger.received_since(first) == 0
            assert faults.complaints(h3)
            assert _clear_of(cluster, h3, since) == 0
        # With the southbound back, and an IKE daemon, it is as it was; still nothing was clear.
        h3.daemons["charon"].start()
        helpers.wait_all_encrypted(cluster)
        helpers.wait_state(cluster, "enforced")
        assert _clear_of(cluster, h3, since) == 0
    finally:
        h3.daemons[CONTROLLER].stop()
        if not faults.recovers(h3):
            h3.run(["sh", "-c", "rm -rf /var/lib/ovn-ipsec/*"])
            h3.start_ipsec()


def _clear_of(cluster: Cluster, chassis: Chassis, since: Mark) -> int:
    """Return how many clear tunnel packets a host has sent."""
    own = (Kind.CLEAR, chassis.encap_ips[0])
    return sum(one.count for key, one in cluster.wire.counts(since).items() if key[:2] == own)


# --- an IKE daemon that accepts and never answers --------------------------------------------


def test_hung_ike_daemon_holds_up_neither_the_guard_nor_an_answer(enforced: Cluster) -> None:
    """Stopped in the middle: the table comes back, appctl answers, nothing is lost or clear."""
    cluster, h1 = enforced, enforced.chassis["h1"]
    charon = h1.daemons["charon"]
    with helpers.traffic(cluster) as ping:
        charon.signal(signal.SIGSTOP)
        try:
            h1.run(["nft", "flush", "ruleset"])
            wait_until(lambda: helpers.has_table(h1), GUARD_S, "the table back", every=0.1)
            slowest = max(faults.answers_in_s(h1) for _ in range(10))
            h1.daemons[CONTROLLER].kill()
            h1.run(["nft", "flush", "ruleset"])
            h1.daemons[CONTROLLER].start()
            wait_until(lambda: helpers.has_table(h1), GUARD_S, "the table up", every=0.1)
            slowest = max(slowest, *(faults.answers_in_s(h1) for _ in range(10)))
            say("IKE daemon hangs", slowest_answer_s=f"{slowest:.2f}", lost=ping.lost)
            assert slowest < stretched(DEADLINE_S + HELLO_S + 1.0)
            wait_until(lambda: "IKE" in faults.complaints(h1), 60, "h1 says so")
            assert ping.lost == 0
        finally:
            charon.signal(signal.SIGCONT)
        helpers.wait_all_encrypted(cluster)
        helpers.wait_state(cluster, "enforced")
        ping.run(2)
        ping.assert_encrypted()
        assert ping.lost <= helpers.CHANGE_LOST


# --- a kernel without ESP --------------------------------------------------------------------


@pytest.fixture
def without_esp(switched_off: Cluster) -> Iterator[Cluster]:
    """The cluster on a kernel that has no ESP and gets none: ``install esp4 /bin/false``."""
    if os.environ.get("OVN_IPSEC_LAB") != "guest":
        pytest.skip("needs a kernel of its own (a guest), as ESP is taken from it")
    for chassis in switched_off.chassis.values():
        helpers.wait_clean(chassis)
    NO_ESP.write_text("".join(f"install {name} /bin/false\n" for name in ESP))
    try:
        for name in ESP:
            _unload(name)
        yield switched_off
    finally:
        NO_ESP.unlink(missing_ok=True)
        subprocess.run(["modprobe", "-a", *ESP], check=True)


def _unload(name: str) -> None:
    """Take a module out once nobody holds it: SAs end a moment after they were deleted."""

    def gone() -> bool:
        subprocess.run(["modprobe", "-r", name], check=False, capture_output=True)
        return name not in {line.split()[0] for line in _modules()}

    wait_until(gone, 60, f"{name} unloaded")


def _modules() -> list[str]:
    return Path("/proc/modules").read_text().splitlines()


def test_kernel_without_esp_is_refused_before_anything_is_closed(without_esp: Cluster) -> None:
    """Each chassis names ESP in ``prepare``; nothing is tried, nothing lost; then it is there."""
    cluster = without_esp
    with helpers.traffic(cluster) as ping:
        helpers.switch(cluster, on=True)

        def named() -> bool:
            return all("ESP" in helpers.problem(cluster, name) for name in cluster.chassis)

        wait_until(named, 60, "every chassis names ESP")
        wait_until(lambda: "ESP" in helpers.summary(cluster), 30, "the summary names ESP")
        assert helpers.state(cluster) == "preparing (degraded)"
        ping.run(SHOWN_S)
        ping.assert_only_ports_lost()
        assert not ping.esp
        NO_ESP.unlink(missing_ok=True)
        subprocess.run(["modprobe", "-a", *ESP], check=True)
        NO_ESP.touch()
        helpers.wait_state(cluster, "enforced")
        helpers.wait_all_encrypted(cluster)
        ping.assert_only_ports_lost()
    assert cluster.central.daemons[NORTHD].is_alive
