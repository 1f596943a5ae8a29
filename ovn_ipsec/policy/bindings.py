# SPDX-License-Identifier: Apache-2.0
"""Pure: rows of Port_Binding and Datapath_Binding to the values that Topology takes.

Requested chassis are taken from the options, as ovn-controller does where the columns made of them
are missing: names or hostnames of chassis, the main one first, and then the additional ones (they
are bound only when they are listed there).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from .topology import Binding, Datapath

NOWHERE = "localport"
"""The type of a port that is on every chassis and never tunnelled."""

GATEWAYS = ("l3gateway", "chassisredirect")
"""Types of the ports at which a router forwards on a chassis of its own (ovn-sb(5))."""

WANTED_AT = ("requested-chassis", "l3gateway-chassis", "l2gateway-chassis")
"""Keys of Port_Binding.options that say where a port is to be (ovn-sb(5))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBinding:
    """A Port_Binding row as it stands in the database, references resolved to names."""

    datapath: UUID
    port: str
    type: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    parents: Collection[str] = ()
    """parent_port and virtual_parent."""
    chassis: Collection[str] = ()
    """Names of the chassis that bind it, and of its gateways (ha_chassis_group)."""


def asked_for(options: Mapping[str, str]) -> frozenset[str]:
    """Names or hostnames of chassis where a port is to be."""
    return frozenset(text for key in WANTED_AT for text in _split(options.get(key, "")))


def parse_binding(raw: RawBinding, named: Mapping[str, Collection[str]]) -> Binding:
    """Tell what a port contributes.

    Args:
        raw: The row.
        named: Hostname to the names of its chassis.
    """
    chassis = set(raw.chassis)
    for asked in asked_for(raw.options):
        chassis |= {asked, *named.get(asked, ())}
    parents = {*raw.parents, *_split(raw.options.get("virtual-parents", ""))}
    return Binding(
        datapath=raw.datapath,
        port=raw.port,
        peer=raw.options.get("peer"),
        parents=frozenset(parents),
        chassis=frozenset(() if raw.type == NOWHERE else chassis),
        gateway=raw.type in GATEWAYS,
    )


def parse_datapath(tunnel_key: int, external_ids: Mapping[str, str]) -> Datapath:
    """Tell a switch from a router, and its name."""
    return Datapath(
        name=external_ids.get("name", ""),
        tunnel_key=tunnel_key,
        is_switch="logical-switch" in external_ids,
    )


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
