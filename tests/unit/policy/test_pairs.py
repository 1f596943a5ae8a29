# SPDX-License-Identifier: Apache-2.0
"""Which encaps OVN makes tunnels between."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ovn_ipsec.model.chassis import ChassisName, Encap, EncapType
from ovn_ipsec.policy.pairs import encap_pairs, preferred_type, tunnels_to
from ovn_ipsec.schema.encap import Chassis, EncapIntent

GENEVE, VXLAN = EncapType.GENEVE, EncapType.VXLAN


def encap(ip: str = "10.0.0.1", kind: EncapType = GENEVE, **more) -> EncapIntent:
    made = Encap(type=kind, ip=ip_address(ip), port=6081, csum=None)
    return EncapIntent(encap=made, **{"mode": None, **more})


def chassis(*encaps: EncapIntent, zones: str = "", **more: bool) -> Chassis:
    flags = {"is_remote": False, "is_interconn": False, **more}
    return Chassis(name=ChassisName("hv"), zones=frozenset(zones), encaps=encaps, **flags)


@pytest.mark.parametrize(
    ("local", "peer", "expected"),
    [
        (chassis(), chassis(), True),
        (chassis(zones="ab"), chassis(zones="b"), True),
        (chassis(zones="a"), chassis(zones="b"), False),
        (chassis(zones="a"), chassis(), False),
        (chassis(), chassis(is_remote=True), False),
        (chassis(is_interconn=True), chassis(is_remote=True), True),
        (chassis(is_interconn=True, zones="a"), chassis(is_remote=True, zones="b"), False),
    ],
)
def test_where_ovn_controller_makes_tunnels(local: Chassis, peer: Chassis, expected: bool):
    """Within transport zones; into another availability zone only from a gateway."""
    assert expected == tunnels_to(local, peer)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((GENEVE, VXLAN), (GENEVE, VXLAN), GENEVE),
        ((VXLAN, GENEVE), (VXLAN,), VXLAN),
        ((GENEVE,), (VXLAN,), None),
        ((), (GENEVE,), None),
    ],
)
def test_geneve_is_preferred(ours, theirs, expected: EncapType | None):
    """And vxlan taken where both have it; nothing where they have none in common."""
    one, other = (chassis(*(encap(kind=kind) for kind in kinds)) for kinds in (ours, theirs))
    assert expected == preferred_type(one, other)
    assert bool(expected) == bool(list(encap_pairs(one, other)))


def test_every_encap_meets_every_one_of_its_family_and_the_preferred_type():
    """Positions, in the order of the rows."""
    one = chassis(encap("10.0.0.1"), encap("fd00::1"), encap("10.0.0.1", VXLAN))
    other = chassis(encap("10.0.0.2"), encap("10.0.0.3"), encap("fd00::2"))
    assert [(0, 0), (0, 1), (1, 2)] == list(encap_pairs(one, other))
