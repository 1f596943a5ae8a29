# SPDX-License-Identifier: Apache-2.0
"""The main job on the real thing: one switch encrypts a cluster, and undoes it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ovn_ipsec.lab.cluster import Cluster
from ovn_ipsec.lab.waiting import wait_until
from ovn_ipsec.lab.wire import Kind


def state(cluster: Cluster) -> str:
    return cluster.nbctl("get", "NB_Global", ".", "external_ids").strip()


def test_enable(cluster: Cluster) -> None:
    cluster.start_ipsec()
    time.sleep(20)
    print(state(cluster))
    with cluster.pinging("w1", "w2") as ping:
        time.sleep(2)
        m = ping.mark()
        w = cluster.wire.mark()
        cluster.nbctl("set", "NB_Global", ".", "ipsec=true")
        end = time.monotonic() + 60
        while time.monotonic() < end and "enforced" not in state(cluster):
            time.sleep(2)
            print(time.monotonic(), state(cluster))
        print(ping.lost_since(m), ping.received_since(m), cluster.wire.counts(w))
        w = cluster.wire.mark()
        time.sleep(3)
        print(cluster.wire.counts(w))
        m = ping.mark()
        cluster.nbctl("set", "NB_Global", ".", "ipsec=false")
        time.sleep(12)
        print(ping.lost_since(m), ping.received_since(m), state(cluster))
    for h in cluster.chassis:
        print(h.run(["cat", "/var/log/ovn/ovn-ipsec-controller.log"]) if False else "")
    cluster.save_logs()
