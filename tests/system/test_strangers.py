# SPDX-License-Identifier: Apache-2.0
"""Who must not weaken a cluster: a chassis in SB, a stranger on the underlay, bad credentials."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import helpers
import pytest
import stranger

from ovn_ipsec.lab.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster import Cluster
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
        time.sleep(2)
        assert stranger.received(heard) == []
        assert _denied(h1) - before >= 20


def _problem(cluster: Cluster, chassis: str) -> str:
    return helpers.digest(cluster, chassis).get("ovn-ipsec-problem", "")


# --- the stock daemon ------------------------------------------------------------------------

STAND_IN = "/etc/ovn-ipsec/ovs-monitor-ipsec"


@pytest.fixture
def stock_daemon(product: Cluster) -> Iterator[Chassis]:
    """h3, on which a process that looks like the stock daemon runs."""
    chassis = product.chassis["h3"]
    chassis.write(STAND_IN, "import time\ntime.sleep(3600)\n")
    process = chassis.popen([sys.executable, STAND_IN])
    yield chassis
    process.kill()
    process.wait()
    wait_until(lambda: not _problem(product, "h3"), 120, "no problem on h3")


def test_live_stock_daemon_is_not_fought_with(switched_off: Cluster, stock_daemon: Chassis) -> None:
    """The controller stands back where ovs-monitor-ipsec runs, and its digest says why."""
    cluster = switched_off
    wait_until(
        lambda: "ovs-monitor-ipsec" in _problem(cluster, "h3"), 120, "the conflict in the digest"
    )
    with helpers.traffic(cluster) as ping:
        helpers.switch(cluster, on=True)
        wait_until(lambda: len(ping.esp) == 2, 180, "ESP between h1 and h2")
        assert "ovs-monitor-ipsec" in helpers.nb_report(cluster)["ovn-ipsec-summary"]
        assert helpers.leftovers(stock_daemon) == []
