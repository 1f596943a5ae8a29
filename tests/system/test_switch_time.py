# SPDX-License-Identifier: Apache-2.0
"""What the switch loses on three chassis under a flood of pings, and what is clear of it when.

How long it takes is printed and not asserted: the seconds are those of an emulated machine that
other work may share. That evidence ends the waits, and not their fixed times, is asserted in
virtual time (tests/simulation/test_times.py).
"""

from __future__ import annotations

import time

import helpers
import pytest
from helpers import say

from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.lab.witness.wire import Kind

RATE = 100.0
"""Pings a second, from w1 to w2."""
ROUNDS = 2
"""The first one also reads every program from disk for the first time."""


def follow(cluster: Cluster) -> dict[str, float]:
    """Switch on and watch until `enforced`: seconds since then by what was reached.

    A chassis is noted by its name when it first reports that all its pairs are encrypted.
    """
    begin = time.monotonic()
    found: dict[str, float] = {}
    helpers.switch(cluster, on=True)
    while "enforced" not in found:
        time.sleep(0.05)
        row = cluster.sb.row("SB_Global", "external_ids")["external_ids"]
        counts = {name: helpers.pair_counts(cluster, name) for name in cluster.chassis}
        up = [name for name, one in counts.items() if one.get("encrypted") == len(counts) - 1]
        for word in (row.get("ovn-ipsec-phase", ""), helpers.state(cluster), *up):
            found.setdefault(word, time.monotonic() - begin)
        assert time.monotonic() < begin + stretched(helpers.PATIENCE_S), found
    return {word: seconds for word, seconds in found.items() if word not in ("", "off")}


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_the_switch_loses_only_what_ovn_controller_does(switched_off: Cluster, turn: int) -> None:
    """And a chassis that reports itself encrypted is."""
    cluster = switched_off
    with helpers.traffic(cluster, rate=RATE) as ping:
        begin, start = time.monotonic(), cluster.wire.mark()
        found = follow(cluster)
        ping.run(2)
        lost = ping.lost
        times = {word: f"{seconds:.2f}" for word, seconds in found.items()}
        say(f"switch on, turn {turn}", lost=lost, sent=ping.sent, **times)
        ping.assert_only_ports_lost()
        leaks = [
            (name, round(one.at - begin, 2))
            for one in cluster.wire.sightings(start)
            for name, chassis in cluster.chassis.items()
            if one.kind is Kind.CLEAR and one.source in chassis.encap_ips
            if one.at > begin + found[name]
        ]
        assert leaks == []
    helpers.relax(cluster)
