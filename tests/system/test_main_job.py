# SPDX-License-Identifier: Apache-2.0
"""The main job on the real thing: one switch encrypts a cluster, undoes it, and holds in between.

Twenty pings a second go from w1 on h1 to w2 on h2, and the witness watches what leaves each host.
"""

from __future__ import annotations

import time

import helpers
import proving
import pytest
from helpers import say

from ovn_ipsec.lab.cluster.chassis import CONTROLLER
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.host import python
from ovn_ipsec.lab.waiting import wait_until

HANDOVER_LOST = 1
"""0 were lost where both ends make the child that they send over (decision 0014)."""
OUTAGE_S = 60.0
"""How long a killed controller stays away."""


# --- the switch ------------------------------------------------------------------------------


def test_switch_encrypts_everything_and_undoes_it_without_a_trace(switched_off: Cluster) -> None:
    """On and off again: at most one ping lost each way; ESP alone between; nothing left at last."""
    cluster = switched_off
    with helpers.traffic(cluster) as ping:
        took = helpers.enforce(cluster)
        ping.run(2)
        lost = ping.lost
        say("enable", seconds=f"{took:.1f}", lost=lost, sent=ping.sent, at=ping.lost_at)
        ping.assert_only_ports_lost()
        ping.mark()
        ping.run(3)
        ping.assert_encrypted()
        assert ping.lost == 0
        ping.mark()
        took = helpers.relax(cluster)
        ping.run(2)
        lost = ping.lost
        say("disable", seconds=f"{took:.1f}", lost=lost, sent=ping.sent, at=ping.lost_at)
        ping.assert_only_ports_lost()
        ping.mark()
        ping.run(2)
        ping.assert_in_clear()
    for name, chassis in cluster.chassis.items():
        helpers.wait_clean(chassis)
        assert helpers.pair_counts(cluster, name).get("encrypted", 0) == 0


# --- processes die ---------------------------------------------------------------------------


def test_killed_controller_changes_nothing_and_adopts_what_it_finds(enforced: Cluster) -> None:
    """No packet is lost or clear while the controller is away nor after, and the SPIs stay."""
    cluster = enforced
    h1 = cluster.chassis["h1"]
    before = helpers.spis(cluster)
    with helpers.traffic(cluster) as ping:
        h1.daemons[CONTROLLER].kill()
        ping.run(OUTAGE_S)
        h1.daemons[CONTROLLER].start()
        helpers.wait_all_encrypted(cluster)
        ping.run(5)
        say("controller killed", lost=ping.lost, sent=ping.sent)
        assert ping.lost == 0
        ping.assert_encrypted()
    assert helpers.spis(cluster) == before
    assert helpers.state(cluster) == "enforced"


def test_killed_ike_daemon_comes_back_without_a_gap(enforced: Cluster) -> None:
    """The kernel's SAs carry on without charon, and its return makes new ones before they go."""
    cluster = enforced
    h1 = cluster.chassis["h1"]
    with helpers.traffic(cluster) as ping:
        h1.daemons["charon"].kill()
        ping.run(3)
        h1.daemons["charon"].start()
        begin = time.monotonic()
        helpers.wait_all_encrypted(cluster)
        say("charon killed", healed_s=f"{time.monotonic() - begin:.1f}")
        ping.run(10)
        say("charon killed", lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        assert ping.lost <= HANDOVER_LOST
        ping.assert_encrypted()
    helpers.wait_state(cluster, "enforced")


def test_stopped_ike_daemon_blocks_is_reported_and_heals(enforced: Cluster) -> None:
    """Without SAs nothing is sent in clear; h1 says so, the cluster is degraded; then it heals."""
    cluster = enforced
    h1 = cluster.chassis["h1"]
    with helpers.traffic(cluster) as ping:
        begin = time.monotonic()
        h1.daemons["charon"].stop()

        def blocked() -> bool:
            return helpers.pair_counts(cluster, "h1").get("blocked") == 2

        wait_until(blocked, 60, "h1 reports its pairs blocked", every=0.1)
        say("charon stopped", blocked_s=f"{time.monotonic() - begin:.1f}")
        helpers.wait_state(cluster, "enforced (degraded)", 60)
        say("charon stopped", degraded_s=f"{time.monotonic() - begin:.1f}")
        ping.run(3)
        assert ping.lost > 0
        h1.daemons["charon"].start()
        begin = time.monotonic()
        ping.wait_answers(20, 60)
        say("charon back", traffic_s=f"{time.monotonic() - begin:.1f}")
        helpers.wait_all_encrypted(cluster)
        helpers.wait_state(cluster, "enforced")
        assert ping.clear == {}
        ping.mark()
        ping.run(2)
        ping.assert_encrypted()


# --- strangers reach into the kernel ---------------------------------------------------------


def test_flushed_ruleset_comes_back_and_nothing_is_clear_meanwhile(enforced: Cluster) -> None:
    """``nft flush ruleset``: the IPsec policies still deny, and the table is put back."""
    cluster = enforced
    h1 = cluster.chassis["h1"]
    with helpers.traffic(cluster) as ping:
        begin = time.monotonic()
        h1.run(["nft", "flush", "ruleset"])
        wait_until(lambda: helpers.has_table(h1), 60, "our table back", every=0.1)
        say("ruleset flushed", back_s=f"{time.monotonic() - begin:.1f}", lost=ping.lost)
        ping.run(3)
        assert ping.lost == 0
        ping.assert_encrypted()


def test_flushed_policies_come_back_and_nothing_is_clear_meanwhile(enforced: Cluster) -> None:
    """``ip xfrm policy flush``: the table denies until the policies are put back."""
    cluster = enforced
    h1 = cluster.chassis["h1"]
    before = sorted(helpers.xfrm_policies(h1))
    assert before
    sas = helpers.spis(cluster)
    with helpers.traffic(cluster) as ping:
        begin = time.monotonic()
        h1.run(["ip", "xfrm", "policy", "flush"])
        ping.wait_answers(20, 60)
        say("policies flushed", traffic_s=f"{time.monotonic() - begin:.1f}", lost=ping.lost)
        # Each pair is repaired by new SAs, and until the last one has them it is not over.
        proving.wait_renewed(cluster, sas, of="h1")
        wait_until(lambda: len(helpers.xfrm_policies(h1)) >= len(before), 60, "all policies back")
        ping.assert_encrypted()
        ping.mark()
        ping.run(3)
        assert ping.lost == 0


# --- OVN restarts ----------------------------------------------------------------------------


def test_plain_restart_of_ovn_controller_keeps_the_sas(enforced: Cluster) -> None:
    """It takes its rows and tunnels away and makes them again; the SPIs are the same after."""
    cluster = enforced
    h1 = cluster.chassis["h1"]
    before = helpers.spis(cluster)
    with helpers.traffic(cluster) as ping:
        h1.appctl("ovn-controller", "exit")
        wait_until(lambda: not h1.daemons["ovn-controller"].is_alive, 60, "ovn-controller gone")
        wait_until(
            lambda: not cluster.sb.rows("Chassis", "name", where=[["name", "==", "h1"]]),
            60,
            "row of h1 gone",
        )
        ping.run(3)
        h1.daemons["ovn-controller"].start()
        took = ping.wait_answers(20)
        say("ovn-controller restarted", traffic_s=f"{took:.1f}", lost=ping.lost)
        helpers.wait_all_encrypted(cluster)
        helpers.wait_state(cluster, "enforced")
        ping.run(3)
        ping.assert_encrypted()
    assert helpers.spis(cluster) == before


@pytest.mark.parametrize("daemon", ["ovn-northd", "ovsdb-nb", "ovsdb-sb"])
def test_restart_on_central_changes_nothing_on_the_wire(enforced: Cluster, daemon: str) -> None:
    """No packet is lost or clear, the SPIs and the generation stay, and all is reported again."""
    cluster = enforced
    before, reached = helpers.spis(cluster), helpers.generation(cluster)
    with helpers.traffic(cluster) as ping:
        cluster.central.daemons[daemon].restart()
        ping.run(8)
        helpers.wait_state(cluster, "enforced")
        helpers.wait_all_encrypted(cluster)
        say("restart", daemon=daemon, lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        assert ping.lost == 0
        ping.assert_encrypted()
    assert helpers.spis(cluster) == before
    assert helpers.generation(cluster) == reached


# --- two northds -----------------------------------------------------------------------------


def test_second_northd_takes_over_when_the_active_one_is_killed(enforced: Cluster) -> None:
    """The generation stays, no packet is lost or clear, and the new one does the job."""
    cluster, central = enforced, enforced.central
    first, name = central.daemons["ovn-ipsec-northd"], "ovn-ipsec-northd-2"
    remotes = [f"--ovn{kind}-db=unix:/run/ovn/ovn{kind}_db.sock" for kind in ("nb", "sb")]
    files = [f"--pidfile=/run/ovn/{name}.pid", f"--unixctl=/run/ovn/{name}.ctl"]
    log = f"--log-file={central.logs}/{name}.log"
    second = central.daemon(name, python("-m", "northd_ext", *remotes, *files, log))
    reached, before = helpers.generation(cluster), helpers.spis(cluster)
    try:
        second.start()
        wait_until(lambda: "standby" in central.appctl(name, "status"), 60, "second on standby")
        with helpers.traffic(cluster) as ping:
            first.kill()
            begin = time.monotonic()
            wait_until(lambda: "active" in central.appctl(name, "status"), 60, "second active")
            say("northd killed", takeover_s=f"{time.monotonic() - begin:.1f}")
            helpers.write_encap_mode(cluster, "h2", "off")
            wait_until(
                lambda: helpers.encap_mode(cluster, "h2") == "require", 30, "row put right again"
            )
            ping.run(3)
            assert ping.lost == 0
            ping.assert_encrypted()
        assert helpers.generation(cluster) == reached
        assert helpers.spis(cluster) == before
    finally:
        second.stop()
        del central.daemons[name]
        helpers.revive(cluster)
