# SPDX-License-Identifier: Apache-2.0
"""Edge: rows of the southbound database to the raw values that parsers take."""

from __future__ import annotations

from ..policy.bindings import RawBinding
from ..schema.encap import RawChassis, RawEncap
from .session import Row


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
