# SPDX-License-Identifier: Apache-2.0
"""Every unit of ours, of strongSwan and of OVN is restarted, and stopped and started."""

from __future__ import annotations

from functools import partial

import pytest
from operator_words import Operator, nothing_clear, sent_by_workload

from ovn_ipsec.lab.hosts.machine import Machine
from ovn_ipsec.lab.hosts.pair import Pair
from ovn_ipsec.lab.waiting import wait_until

OPEN_VSWITCH = ("ovs-vswitchd", "ovsdb-server", "openvswitch-switch")
CHASSIS = (
    *("ovn-ipsec-controller", "strongswan", "ovn-controller", "ovn-host"),
    *OPEN_VSWITCH,
)
CENTRAL = (
    *("ovn-ipsec-northd", "ovn-northd", "ovn-central"),
    *("ovn-ovsdb-server-nb", "ovn-ovsdb-server-sb"),
)
DATABASES = ("ovn-ovsdb-server-nb", "ovn-ovsdb-server-sb")
"""Debian's ovn-northd stops them with itself and starts them no more: its ExecStop lacks the flag
``--ovn-manage-ovsdb=no`` of its ExecStart, and to their units it is a clean exit."""
HELD_BACK = "ovs-vsctl get Open_vSwitch . external_ids:ovn-managed-flow-restore-wait"
"""Succeeds where `ovn-ipsec doctor` says that ovn-controller is to be restarted with Open vSwitch:
OVN 26.03.1 may leave it without forwarding otherwise."""
SENT = 10
"""Packets that the other host's workload tries to send while a unit is stopped."""
LEFT = ("ovn-ipsec-controller", "ovn-controller", "strongswan", "openvswitch-switch", *DATABASES)
"""What an operator starts again after having stopped another: systemd stops what requires it."""


@pytest.mark.slow
@pytest.mark.parametrize("unit", [*CHASSIS, *CENTRAL])
def test_a_restart_of_a_unit_sends_nothing_in_clear(
    enforced: Pair, operator: Operator, unit: str
) -> None:
    """Traffic is back by itself, encrypted, and so is the cluster's state."""
    with nothing_clear(enforced, f"restart of {unit}"):
        enforced.h1.check(f"systemctl restart {unit}", timeout=240)
        if unit in OPEN_VSWITCH:
            restart_if_held_back(enforced.h1)
    if unit == "ovn-northd":
        enforced.h1.check(f"systemctl start {' '.join(DATABASES)}", timeout=240)
    operator.wait_enforced()


def restart_if_held_back(host: Machine) -> None:
    """Do what doctor says, where it says that."""
    if host.run(HELD_BACK).status == 0:
        host.check("systemctl restart ovn-controller", timeout=240)


def idle(host: Machine) -> bool:
    """Return whether systemd neither starts nor stops anything."""
    return not host.check("systemctl list-jobs --no-legend").strip()


@pytest.mark.parametrize("unit", [*CHASSIS, *CENTRAL])
def test_a_unit_that_is_stopped_and_started_sends_nothing_in_clear(
    enforced: Pair, operator: Operator, unit: str
) -> None:
    """Not while it is away either, and the other host goes on sending."""
    with nothing_clear(enforced, f"stop and start of {unit}"):
        enforced.h1.check(f"systemctl stop {unit}", timeout=240)
        # Units that are part of it stop after the command has ended.
        wait_until(partial(idle, enforced.h1), 240, "nothing is stopping any more")
        enough = sent_by_workload(enforced.h2) + SENT
        wait_until(lambda: sent_by_workload(enforced.h2) >= enough, 120, "w2 goes on sending")
        enforced.h1.check(f"systemctl start {unit} {' '.join(LEFT)}", timeout=240)
        if unit in OPEN_VSWITCH:
            restart_if_held_back(enforced.h1)
    operator.wait_enforced()


def test_the_guard_refuses_to_be_stopped_by_hand(enforced: Pair) -> None:
    """ovn-controller would be stopped with it; the unit says so itself."""
    with nothing_clear(enforced, "stop and restart of ovn-ipsec-guard"):
        for verb in ("stop", "restart"):
            done = enforced.h1.run(f"systemctl {verb} ovn-ipsec-guard")
            assert done.status != 0
            assert "refused" in done.output
