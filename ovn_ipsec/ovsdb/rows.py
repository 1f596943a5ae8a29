# SPDX-License-Identifier: Apache-2.0
"""Edge: rows of the databases to the raw values that parsers take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..model.mtu import Interface
from ..policy.bindings import RawBinding
from ..schema.encap import RawChassis, RawEncap
from .session import Row

IFACE_ID = "iface-id"
"""Interface.external_ids: which logical port it is (ovn-architecture(7))."""


def raw_chassis(row: Row) -> RawChassis:
    """A Chassis row with its Encap rows."""
    return RawChassis(
        name=row.name,
        hostname=row.hostname,
        transport_zones=frozenset(row.transport_zones),
        other_config=dict(row.other_config),
        encaps=tuple(
            RawEncap(type=encap.type, ip=encap.ip, options=dict(encap.options))
            for encap in row.encaps
        ),
    )


def raw_binding(row: Row) -> RawBinding:
    """A Port_Binding row, references resolved to names."""
    gateways = [member for group in row.ha_chassis_group for member in group.ha_chassis]
    chassis = [*row.chassis, *(found for member in gateways for found in member.chassis)]
    return RawBinding(
        datapath=row.datapath,
        port=row.logical_port,
        type=row.type,
        options=row.options,
        parents=(*row.parent_port, *row.virtual_parent),
        chassis=tuple(found.name for found in chassis),
    )


def interfaces(bridges: Iterable[Row], bridge: str) -> tuple[Interface, ...] | None:
    """The interfaces of workloads on a bridge whose MTU is known, sorted by name.

    Args:
        bridges: Rows of the local Open_vSwitch database.
        bridge: Name of the integration bridge.

    Returns:
        None if there is no such bridge.
    """
    row = next((found for found in bridges if found.name == bridge), None)
    if row is None:
        return None
    return tuple(sorted(_interfaces(row), key=lambda one: one.name))


def _interfaces(bridge: Row) -> Iterator[Interface]:
    for port in bridge.ports:
        for row in port.interfaces:
            # An interface that is not there, or not there yet, has no MTU.
            mtu = next(iter([*row.mtu, *row.mtu_request]), None)
            if IFACE_ID in row.external_ids and mtu is not None:
                yield Interface(name=row.name, port=row.external_ids[IFACE_ID], mtu=mtu)
