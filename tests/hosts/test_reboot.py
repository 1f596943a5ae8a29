# SPDX-License-Identifier: Apache-2.0
"""A host goes away and comes back while the cluster enforces encryption."""

from __future__ import annotations

import pytest
from operator_words import Operator, nothing_clear

from ovn_ipsec.lab.hosts.pair import Pair


@pytest.mark.parametrize("number", [2, 1])
def test_a_reboot_sends_nothing_in_clear_and_needs_no_help(
    enforced: Pair, operator: Operator, number: int
) -> None:
    """From power-on on; its workload and BFD send as soon as they can. Also the central one."""
    host = enforced.hosts[number - 1]
    with nothing_clear(enforced, f"reboot of {host.name}"):
        host.reboot()
    operator.wait_enforced()
    assert host.check("systemctl is-active ovn-ipsec-guard").strip() == "active"


def test_a_power_cut_sends_nothing_in_clear_and_needs_no_help(
    enforced: Pair, operator: Operator
) -> None:
    """Nothing was told that it would end."""
    host = enforced.h2
    before = host.boot_id()
    with nothing_clear(enforced, f"power cut of {host.name}"):
        host.cut_power()
        host.start()
        host.wait_up(other_than=before)
    operator.wait_enforced()
