# SPDX-License-Identifier: Apache-2.0
"""Whether packets of a host's workloads fit through its tunnels, as doctor sees it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from policy_world import hosts, published, report

from ovn_ipsec.cli.doctor.hostcheck import LOOK, Host
from ovn_ipsec.cli.doctor.mtucheck import examine_mtu
from ovn_ipsec.cli.machine.values import Egress
from ovn_ipsec.cli.view import RawSouthbound, parse_southbound
from ovn_ipsec.model.mtu import Interface
from ovn_ipsec.model.policy import Phase, Tuning
from ovn_ipsec.model.status import Room

HERE = ip_address("10.0.0.1")
TO = {n: (HERE, ip_address(f"10.0.0.{n}")) for n in (2, 3)}
TAPS = tuple(Interface(name=f"tap{n}", port=f"vm{n}", mtu=1400 + n) for n in range(20))


def host(room: Room | None = None, **policy) -> Host:
    raw = RawSouthbound(
        external_ids=published(**policy), chassis=hosts(3), privates={"hv1": report(room=room)}
    )
    return Host(
        southbound=parse_southbound(raw),
        paths={TO[2]: 1500, TO[3]: 1500},
        egress={TO[2]: Egress(link="eth0", link_mtu=1500)},
    )


def test_what_is_left_is_told_with_its_link():
    """And nothing is wrong where no workload may exceed it."""
    (check,) = examine_mtu("hv1", replace(host(), interfaces=TAPS[:9]))
    assert check.is_well
    assert check.said == (
        "1408 is left to workloads: 1500 on the path to hv2 10.0.0.2, profile default"
        " (eth0 has 1500)"
    )


def test_interfaces_that_are_larger_are_named_with_the_cause():
    """The largest first, and how many more."""
    (check,) = examine_mtu("hv1", replace(host(), interfaces=TAPS))
    assert check.is_well is False
    assert check.said.startswith(
        "11 interfaces above 1408: tap19 1419 (vm19), tap18 1418 (vm18), tap17 1417 (vm17) and 8"
        " more; 1500 on the path to hv2"
    )
    assert "mtu 1408" in check.next_step
    (one,) = examine_mtu("hv1", replace(host(), interfaces=TAPS[9:10]))
    assert one.said.startswith("1 interface above 1408: tap9 1409 (vm9); ")


def test_the_narrowest_path_counts():
    """With what the route says of it."""
    narrow = replace(
        host(),
        paths={TO[2]: 1500, TO[3]: 1400},
        egress={TO[3]: Egress(link="eth0", link_mtu=1500, route_mtu=1400)},
    )
    (check,) = examine_mtu("hv1", narrow)
    assert check.said == (
        "1308 is left to workloads: 1400 on the path to hv3 10.0.0.3, profile default"
        " (eth0 has 1500, and the route or a router on the way says 1400)"
    )


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"phase": Phase.OFF}, "1442 is left to workloads: 1500 on the path to hv2 10.0.0.2, in"),
        ({"tuning": Tuning(force_encapsulation=True)}, "1400 is left"),
    ],
)
def test_the_policy_in_force_counts(policy, said):
    """As controllers have it."""
    (check,) = examine_mtu("hv1", replace(host(**policy), egress={}))
    assert check.said.startswith(said)


def test_what_the_controller_has_found_counts_where_it_is_less():
    """It knows where there is NAT."""
    (check,) = examine_mtu("hv1", host(Room(underlay=1500, inner=1400)))
    assert check.said.startswith("1400 is left to workloads: as the controller reports")
    (check,) = examine_mtu("hv1", host(Room(underlay=1500, inner=1442)))
    assert check.said.startswith("1408 is left")


def test_where_nothing_can_be_seen_nothing_is_said_or_that_nobody_can_tell():
    """No name, no southbound, no pair; or no route."""
    assert examine_mtu(None, host()) == ()
    assert examine_mtu("hv1", Host()) == ()
    assert examine_mtu("hv9", host()) == ()
    (check,) = examine_mtu("hv1", replace(host(), paths={}))
    assert (check.is_well, check.next_step) == (None, LOOK)
