# SPDX-License-Identifier: Apache-2.0
"""Edge: both databases to a Snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..ovsdb.commands import Commands
from ..ovsdb.rows import raw_binding, raw_chassis
from ..ovsdb.schemas import NORTHBOUND, SOUTHBOUND, SOUTHBOUND_NETWORKS
from ..policy.bindings import parse_binding, parse_datapath
from ..policy.topology import Topology
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


@contextmanager
def northbound(settings: Settings) -> Iterator[Commands]:
    """Connect to NB.

    Raises:
        OvsdbError: Nothing arrived in time.
    """
    with connected(settings, settings.ovnnb_db, NORTHBOUND) as session:
        yield session
