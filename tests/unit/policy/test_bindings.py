# SPDX-License-Identifier: Apache-2.0
"""Rows of Port_Binding and Datapath_Binding to what Topology takes."""

from __future__ import annotations

from uuid import UUID

import pytest

from ovn_ipsec.policy.bindings import RawBinding, asked_for, parse_binding, parse_datapath
from ovn_ipsec.policy.topology import Binding, Datapath

HERE = UUID(int=1)


def raw(**more) -> RawBinding:
    return RawBinding(datapath=HERE, port="p", **more)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (raw(), Binding(datapath=HERE, port="p")),
        (raw(options={"peer": "q"}), Binding(datapath=HERE, port="p", peer="q")),
        (raw(chassis=("hv1",)), Binding(datapath=HERE, port="p", chassis=frozenset({"hv1"}))),
        (raw(type="localport", chassis=("hv1",)), Binding(datapath=HERE, port="p")),
        (
            raw(parents=("a",), options={"virtual-parents": "b, c"}),
            Binding(datapath=HERE, port="p", parents=frozenset("abc")),
        ),
        (
            raw(options={"requested-chassis": "host2,hv9"}, chassis=["hv1"]),
            Binding(datapath=HERE, port="p", chassis=frozenset({"hv1", "hv2", "hv9", "host2"})),
        ),
    ],
)
def test_a_port_counts_where_it_is_and_where_it_is_wanted(found: RawBinding, expected: Binding):
    """A localport is nowhere; a hostname stands for its chassis."""
    assert expected == parse_binding(found, {"host2": {"hv2"}})


def test_every_key_that_says_where_a_port_is_to_be_is_read():
    """Gateways of both kinds too."""
    options = {"l3gateway-chassis": "a", "l2gateway-chassis": "b", "requested-chassis": ",c"}
    assert {"a", "b", "c"} == asked_for(options)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({"name": "web", "logical-switch": "u"}, ("web", True)),
        ({"name": "r", "logical-router": "u"}, ("r", False)),
        ({}, ("", False)),
    ],
)
def test_a_datapath_is_a_switch_or_a_router(ids: dict[str, str], expected: tuple[str, bool]):
    """As ovn-northd says in external_ids."""
    name, is_switch = expected
    assert Datapath(name=name, tunnel_key=3, is_switch=is_switch) == parse_datapath(3, ids)
