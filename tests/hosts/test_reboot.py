# SPDX-License-Identifier: Apache-2.0
"""Hosts go away and come back while the cluster enforces encryption."""

from __future__ import annotations

import pytest
from operator_words import CHAPTERS, Operator, nothing_clear

from ovn_ipsec.lab.hosts.pair import Pair

GUARD = "systemctl is-active ovn-ipsec-guard"


def test_a_reboot_sends_nothing_in_clear_and_needs_no_help(
    enforced: Pair, operator: Operator
) -> None:
    """From power-on on; its workload and BFD send as soon as they can. Chapter 7."""
    operator.read_to(CHAPTERS["certificate"])
    with nothing_clear(enforced, "reboot of h2"):
        operator.read_to(CHAPTERS["reboot"])
    operator.wait_enforced()


@pytest.mark.slow
def test_a_power_cut_of_both_hosts_sends_nothing_in_clear_and_needs_no_help(
    enforced: Pair, operator: Operator
) -> None:
    """Nothing was told that it would end, and no southbound is there while the hosts start."""
    operator.read_to(CHAPTERS["reboot"])
    before = {host: host.boot_id() for host in enforced.hosts}
    with nothing_clear(enforced, "power cut of both hosts"):
        for host in enforced.hosts:
            host.cut_power()
        for host in enforced.hosts:
            host.start()
        for host in enforced.hosts:
            host.wait_up(other_than=before[host])
            host.wait_booted()
    operator.wait_enforced()
    for host in enforced.hosts:
        assert host.check(GUARD).strip() == "active"
    operator.again("systemd-run --unit=tutorial-ping")
