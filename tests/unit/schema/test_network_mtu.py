# SPDX-License-Identifier: Apache-2.0
"""The MTUs that the northbound gives to workloads."""

from __future__ import annotations

import pytest

from ovn_ipsec.schema.network_mtu import RawNetworks, RawRow, parse_networks

ID = "8f3ec596-41e0-43f2-a4b7-7befbab52e40"


def row(name: str, ids=(), advertised=(), **values: str) -> RawRow:
    return RawRow(
        uuid=ID,
        name=name,
        values=values,
        external_ids=dict(ids),
        advertised=dict(advertised),
    )


def neutron(name: str, mtu: str) -> RawRow:
    ids = {"neutron:mtu": mtu, "neutron:network_name": "blue"}
    return RawRow(uuid=ID, name=name, values=ids, external_ids=ids, advertised={})


def test_each_source_is_found_with_the_command_that_sets_it():
    """A router port can have two; a row without an MTU has none."""
    raw = RawNetworks(
        switches=(neutron("neutron-1a2b", "1442"), row("plain")),
        dhcp=(row("10.0.0.0/24", mtu="1450", lease_time="3600"), row("10.1.0.0/24")),
        router_ports=(row("lrp1", advertised={"mtu": "1400"}, gateway_mtu="1500"),),
    )
    found, errors = parse_networks(raw)
    assert errors == ()
    assert [(str(one), one.mtu, one.to_set(1408)) for one in found] == [
        (
            "DHCP_Options 10.0.0.0/24 options:mtu",
            1450,
            f"ovn-nbctl set DHCP_Options {ID} options:mtu=1408",
        ),
        (
            "Logical_Router_Port lrp1 ipv6_ra_configs:mtu",
            1400,
            f"ovn-nbctl set Logical_Router_Port {ID} ipv6_ra_configs:mtu=1408",
        ),
        (
            "Logical_Router_Port lrp1 options:gateway_mtu",
            1500,
            f"ovn-nbctl set Logical_Router_Port {ID} options:gateway_mtu=1408",
        ),
        (
            "Logical_Switch neutron-1a2b external_ids:neutron:mtu",
            1442,
            "openstack network set --mtu 1408 1a2b",
        ),
    ]


def test_dhcp_options_of_openstack_follow_its_network():
    """It would write over whatever somebody else sets there."""
    raw = RawNetworks(dhcp=(row("10.0.0.0/24", ids={"subnet_id": "x"}, mtu="1450"),))
    assert parse_networks(raw) == ((), ())


@pytest.mark.parametrize("text", ["67", "65537", "abc", "-1", "1e3", "\u0661\u0665\u0660\u0660"])
def test_what_is_no_mtu_is_named_and_costs_nothing_else(text):
    """By table, row and key."""
    raw = RawNetworks(dhcp=(row("10.0.0.0/24", mtu=text), row("10.1.0.0/24", mtu=" 1450 ")))
    found, (error,) = parse_networks(raw)
    assert [one.mtu for one in found] == [1450]
    assert (error.table, error.row, error.key) == ("DHCP_Options", "10.0.0.0/24", "options:mtu")


def test_a_name_that_a_shell_would_act_on_is_not_part_of_a_command():
    """Whoever may write a name may not have somebody else run it."""
    (found,), _ = parse_networks(RawNetworks(switches=(neutron("neutron-$(reboot)", "1442"),)))
    assert found.to_set(1408) == "openstack network set --mtu 1408 <network>"


def test_a_row_without_a_name_goes_by_its_number():
    """A name may be anything, also nothing."""
    (found,), _ = parse_networks(RawNetworks(dhcp=(row("", mtu="1450"), row("a\nb"))))
    assert found.name == ID
