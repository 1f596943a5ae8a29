# SPDX-License-Identifier: Apache-2.0
"""Who must not weaken a cluster: a chassis in SB, a stranger on the underlay, the stock daemon."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import helpers
import pytest
import stranger

from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.waiting import wait_until

JUNK = "maybe; drop table"


# --- SB is written by others -----------------------------------------------------------------


@pytest.mark.parametrize("text", ["off", None, JUNK], ids=["off", "deleted", "junk"])
def test_chassis_that_weakens_its_own_row_weakens_nothing(
    enforced: Cluster, text: str | None
) -> None:
    """The row is put right, no packet is clear or lost, and a refused text is named in the log."""
    cluster = enforced
    before = helpers.spis(cluster)
    assert helpers.encap_mode(cluster, "h2") == "require"
    with helpers.traffic(cluster) as ping:
        log = "ovn-ipsec-northd.log"
        known = len((cluster.central.logs / log).read_text())
        helpers.write_encap_mode(cluster, "h2", text)
        begin = time.monotonic()
        wait_until(
            lambda: helpers.encap_mode(cluster, "h2") == "require", 60, "row put right", every=0.02
        )
        print(f"MEASURED row put right: text={text} seconds={time.monotonic() - begin:.2f}")
        ping.run(4)
        assert ping.lost == 0
        ping.assert_encrypted()
        if text is not None:
            added = (cluster.central.logs / log).read_text()[known:]
            (line,) = [one for one in added.splitlines() if "|refused" in one]
            for word in ("table=Encap", "h2", f"options:{helpers.KEY}", text, "reason="):
                assert word in line
    assert helpers.spis(cluster) == before
    assert helpers.state(cluster) == "enforced"


# --- the underlay ----------------------------------------------------------------------------


def _denied(chassis: Chassis) -> int:
    guard = json.loads(chassis.appctl(CONTROLLER, "guard/show"))
    counters = [found for found in guard["counters"].values() if found]
    assert counters
    return sum(int(found["in_denied"]) for found in counters)


def test_clear_geneve_of_a_stranger_is_not_delivered(switched_off: Cluster) -> None:
    """What reaches the workload without encryption is denied and counted when it is enforced."""
    cluster = switched_off
    h1 = cluster.chassis["h1"]
    with (
        stranger.on_the_underlay() as network,
        stranger.listener(cluster.workloads["w1"]) as heard,
    ):

        def delivered(text: bytes) -> bool:
            stranger.inject(network, cluster, "w2", "w1", text)
            return text in stranger.received(heard)

        wait_until(lambda: delivered(b"before"), 30, "delivery without encryption")
        helpers.enforce(cluster)
        stranger.received(heard)
        before = _denied(h1)
        for number in range(20):
            stranger.inject(network, cluster, "w2", "w1", b"after %d" % number)
        wait_until(lambda: _denied(h1) - before >= 20, 30, "all of them denied")
        assert stranger.received(heard) == []


# --- the stock daemon ------------------------------------------------------------------------

MONITOR = "ovs-monitor-ipsec"
STAND_IN = f"/etc/ovn-ipsec/{MONITOR}"


@pytest.fixture
def stock_daemon(switched_off: Cluster) -> Iterator[Chassis]:
    """h3, on which a process that looks like the stock daemon runs, and our controller knows."""
    cluster, chassis = switched_off, switched_off.chassis["h3"]
    helpers.wait_clean(chassis)
    chassis.write(STAND_IN, "import time\ntime.sleep(3600)\n")
    process = chassis.popen([sys.executable, STAND_IN])
    try:
        wait_until(lambda: MONITOR in helpers.problem(cluster, "h3"), 60, "the conflict named")
        yield chassis
    finally:
        process.kill()
        process.wait()


def test_live_stock_daemon_is_not_fought_with(switched_off: Cluster, stock_daemon: Chassis) -> None:
    """The controller keeps its hands off h3 and says why; h1 and h2 are encrypted without it."""
    cluster, h1 = switched_off, switched_off.chassis["h1"]
    with helpers.traffic(cluster) as ping:
        helpers.switch(cluster, on=True)
        helpers.wait_state(cluster, "preparing (degraded)", 60)
        assert f"h3: {MONITOR}" in helpers.summary(cluster)
        # ``prepare`` waits its 60 s for h3, which cannot follow.
        wait_until(lambda: helpers.states_with(h1, "h2") == {"encrypted"}, 150, "h1-h2 encrypted")
        ping.assert_only_ports_lost()
        ping.mark()
        ping.run(2)
        assert len(ping.esp) == 2
        assert ping.lost == 0
        assert f"h3: {MONITOR}" in helpers.summary(cluster)
        assert helpers.state(cluster) == "establishing (degraded)"
        assert helpers.leftovers(stock_daemon) == []
        assert [key for key in ping.clear if not {*stock_daemon.encap_ips} & {*key}] == []
