# SPDX-License-Identifier: Apache-2.0
"""Edge: both databases to a Snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from ..ovsdb.commands import Commands
from ..ovsdb.rows import raw_binding, raw_chassis
from ..ovsdb.schemas import (
    NORTHBOUND,
    NORTHBOUND_MTUS,
    ONLY_LOCALNET,
    SOUTHBOUND,
    SOUTHBOUND_NETWORKS,
)
from ..ovsdb.session import Row
from ..policy.bindings import parse_binding, parse_datapath
from ..policy.topology import Topology
from ..schema.network_mtu import RawNetworks, RawRow
from .database import connected, global_row
from .settings import Settings
from .view import RawNorthbound, RawSouthbound, Snapshot, make_snapshot


def snapshot(settings: Settings, nb: Commands) -> Snapshot:
    """Read the cluster.

    Args:
        settings: Where SB is.
        nb: Connected.

    Raises:
        OvsdbError: SB does not answer, or there is no NB_Global.
    """
    row = global_row(nb)
    switches = [(s.name, dict(s.other_config)) for s in nb.rows("Logical_Switch")]
    raw = RawNorthbound(
        ipsec=row.ipsec,
        options=dict(row.options),
        external_ids=dict(row.external_ids),
        switches=tuple(switches),
    )
    with connected(settings, settings.ovnsb_db, SOUTHBOUND) as sb:
        return make_snapshot(raw, southbound(sb))


def southbound(sb: Commands) -> RawSouthbound:
    """Read what is judged of the southbound.

    Args:
        sb: Connected, with ``SOUTHBOUND``.
    """
    row = sb.first("SB_Global")
    return RawSouthbound(
        external_ids={} if row is None else dict(row.external_ids),
        chassis=tuple(raw_chassis(row) for row in sb.rows("Chassis")),
        privates={row.name: dict(row.external_ids) for row in sb.rows("Chassis_Private")},
    )


def with_networks(settings: Settings, seen: Snapshot, named: frozenset[str]) -> Snapshot:
    """Add who hosts and reaches the networks named; reads nothing when none is.

    Raises:
        OvsdbError: SB does not answer.
    """
    if not named:
        return seen
    with connected(settings, settings.ovnsb_db, SOUTHBOUND_NETWORKS) as sb:
        return replace(seen, memberships=_topology(sb).memberships(named))


def _topology(sb: Commands) -> Topology:
    topology = Topology()
    named: defaultdict[str, set[str]] = defaultdict(set)
    for row in sb.rows("Chassis"):
        named[row.hostname].add(row.name)
    for row in sb.rows("Datapath_Binding"):
        found = parse_datapath(row.tunnel_key, row.external_ids)
        topology.put_datapath(row.uuid, found)
    for row in sb.rows("Port_Binding"):
        topology.put_binding(row.uuid, parse_binding(raw_binding(row), named))
    return topology


def networks(nb: Commands) -> RawNetworks:
    """Read what gives workloads an MTU.

    Args:
        nb: Connected, with ``NORTHBOUND_MTUS`` and only the ports of ``ONLY_LOCALNET``.
    """
    return RawNetworks(
        switches=tuple(
            _raw_row(row, row.name, row.external_ids)
            for row in nb.rows("Logical_Switch")
            if not row.ports
        ),
        dhcp=tuple(_raw_row(row, row.cidr, row.options) for row in nb.rows("DHCP_Options")),
        router_ports=tuple(
            _raw_row(row, row.name, row.options, row.ipv6_ra_configs)
            for row in nb.rows("Logical_Router_Port")
        ),
    )


def mtus(settings: Settings) -> RawNetworks:
    """Read it over a connection of its own.

    Raises:
        OvsdbError: NB does not answer.
    """
    with connected(settings, settings.ovnnb_db, NORTHBOUND_MTUS, only=ONLY_LOCALNET) as nb:
        return networks(nb)


def _raw_row(
    row: Row, name: str, values: Mapping[str, str], advertised: Mapping[str, str] | None = None
) -> RawRow:
    return RawRow(
        uuid=str(row.uuid),
        name=name,
        values=dict(values),
        external_ids=dict(row.external_ids),
        advertised=dict(advertised or {}),
    )


@contextmanager
def northbound(settings: Settings) -> Iterator[Commands]:
    """Connect to NB.

    Raises:
        OvsdbError: Nothing arrived in time.
    """
    with connected(settings, settings.ovnnb_db, NORTHBOUND) as session:
        yield session
