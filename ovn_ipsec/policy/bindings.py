# SPDX-License-Identifier: Apache-2.0
"""Pure: rows of Port_Binding and Datapath_Binding to the values that Topology takes.

Requested chassis are read from the options, as ovn-controller does if the columns derived from them
are missing: names or hostnames of chassis, the main one first, then the additional ones (a port is
bound on those only if they are listed there).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from ..model.key import Key, Party
from .topology import Binding, Datapath

NOWHERE = "localport"
"""The type of a port that exists on every chassis and is never tunnelled."""

GATEWAYS = ("l3gateway", "chassisredirect")
"""Types of the ports at which a router forwards on one specific chassis (ovn-sb(5))."""

WANTED_AT = ("requested-chassis", "l3gateway-chassis", "l2gateway-chassis")
"""Keys of Port_Binding.options that say where a port should be (ovn-sb(5))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBinding:
    """A Port_Binding row as stored in the database, with references resolved to names."""

    datapath: UUID
    port: str
    type: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    parents: Collection[str] = ()
    """parent_port and virtual_parent."""
    chassis: Collection[str] = ()
    """Names of the chassis that bind it, and of its gateways (ha_chassis_group)."""


def asked_for(options: Mapping[str, str]) -> frozenset[str]:
    """Names or hostnames of the chassis where a port should be."""
    return frozenset(text for key in WANTED_AT for text in _split(options.get(key, "")))


def parse_binding(raw: RawBinding, named: Mapping[str, Collection[str]]) -> Binding:
    """Determine what a port contributes.

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


_key = partial(
    Key, default="nothing", writer=Party.OVN_NORTHD, readers=(Party.NORTHD, Party.COMMAND)
)
_option = partial(_key, column="Port_Binding.options")
DOCUMENTED = (
    *(
        _option(
            name=name,
            meaning="Where the port is requested: it counts as hosted there before it is bound.",
            values="names or host names of chassis, separated by commas",
            example="hv1",
        )
        for name in WANTED_AT
    ),
    _option(
        name="virtual-parents",
        meaning="Ports that may carry this one: it counts as hosted where they are.",
        values="names of ports, separated by commas",
        example="vm1,vm2",
    ),
    _option(
        name="peer",
        meaning="The port at the other end, on another switch or router.",
        values="the name of a port",
        example="lr0-payments",
    ),
    _key(
        column="Datapath_Binding.external_ids",
        name="name",
        meaning="The name of the switch or router, which `network:` in a rule goes by.",
        values="text",
        example="payments",
    ),
    _key(
        column="Datapath_Binding.external_ids",
        name="logical-switch",
        meaning="Its presence says that this is a switch.",
        values="a UUID",
        default="it is a router",
        example="0ad7f3a1-8d4f-4c53-9a55-1b1f4f2f6f21",
    ),
)
"""What people are told of these keys, read only while a rule or a switch names a network."""
