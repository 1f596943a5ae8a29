# SPDX-License-Identifier: Apache-2.0
"""Pure: the MTUs that the northbound gives to workloads.

OVN has no MTU of a logical switch. What a workload is told comes from DHCP, from router
advertisements, or from whoever plugs it in; OpenStack keeps the MTU of a network beside its switch
and derives the DHCP options from it. A router port's gateway_mtu is the size above which OVN tells
the sender to use less, instead of sending a packet that a tunnel may not carry.

Source: ovn-nb(5), DHCP_Options, Logical_Router_Port; neutron/common/ovn/constants.py,
OVN_NETWORK_MTU_EXT_ID_KEY.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..errors import InputError
from ..model.mtu import LINK_MAX, MTU_MIN
from ..model.text import printable
from . import fields as parse
from .fields import Place

SWITCH, DHCP, ROUTER_PORT = "Logical_Switch", "DHCP_Options", "Logical_Router_Port"
NEUTRON_MTU, NEUTRON_SUBNET = "neutron:mtu", "subnet_id"
LOCALNET = "localnet"
"""The type of a port by which a switch is a network of the underlay: its packets need no tunnel."""
PLACE = "{mtu}"
_TEXT_MAX = 200
_HARMLESS = re.compile(r"[A-Za-z0-9_.-]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """A row of one of the tables."""

    uuid: str
    name: str
    """Of a DHCP_Options row: its cidr."""
    values: Mapping[str, str]
    """The column that may have an MTU; of a switch external_ids, of the others options."""
    external_ids: Mapping[str, str]
    advertised: Mapping[str, str]
    """ipv6_ra_configs of a router port; of the others nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawNetworks:
    """The rows that may have an MTU."""

    switches: tuple[RawRow, ...] = ()
    """Without those that have a localnet port."""
    dhcp: tuple[RawRow, ...] = ()
    router_ports: tuple[RawRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkMtu:
    """An MTU that workloads are given."""

    table: str
    name: str
    """Of the row, printable."""
    key: str
    """Column and key, such as ``options:mtu``."""
    mtu: int
    command: str
    """What sets it; PLACE stands where the number belongs."""

    def to_set(self, mtu: int) -> str:
        """The command that sets another one."""
        return self.command.replace(PLACE, str(mtu))

    def __str__(self) -> str:
        """As ``DHCP_Options 10.0.0.0/24 options:mtu``."""
        return f"{self.table} {self.name} {self.key}"


def parse_networks(raw: RawNetworks) -> tuple[tuple[NetworkMtu, ...], tuple[InputError, ...]]:
    """Find every MTU.

    DHCP options that OpenStack made are left out: they follow the network's MTU, and it would undo
    what somebody else sets.

    Returns:
        The MTUs by table and name, and what could not be read.
    """
    found: list[NetworkMtu] = []
    errors: list[InputError] = []
    for source in _sources(raw):
        try:
            found.append(source.parsed())
        except InputError as error:
            errors.append(error)
    return tuple(sorted(found, key=str)), tuple(errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    table: str
    row: RawRow
    key: str
    text: str
    command: str

    def parsed(self) -> NetworkMtu:
        name = printable(self.row.name or self.row.uuid, _TEXT_MAX)
        place = Place(table=self.table, row=name, key=self.key)
        return NetworkMtu(
            table=self.table,
            name=name,
            key=self.key,
            mtu=parse.integer(place, self.text.strip(), MTU_MIN, LINK_MAX),
            command=self.command,
        )


def _sources(raw: RawNetworks) -> Iterator[_Source]:
    yield from _of_switches(raw.switches)
    for row in raw.dhcp:
        if NEUTRON_SUBNET not in row.external_ids:
            yield from _plain(DHCP, row, "options", "mtu", row.values)
    for row in raw.router_ports:
        yield from _plain(ROUTER_PORT, row, "options", "gateway_mtu", row.values)
        yield from _plain(ROUTER_PORT, row, "ipv6_ra_configs", "mtu", row.advertised)


def _plain(
    table: str, row: RawRow, column: str, key: str, values: Mapping[str, str]
) -> Iterator[_Source]:
    if text := values.get(key):
        path = f"{column}:{key}"
        command = f"ovn-nbctl set {table} {row.uuid} {path}={PLACE}"
        yield _Source(table=table, row=row, key=path, text=text, command=command)


def _of_switches(rows: Iterable[RawRow]) -> Iterator[_Source]:
    for row in rows:
        if not (text := row.values.get(NEUTRON_MTU)):
            continue
        network = row.name.removeprefix("neutron-")
        # What came from a row is no part of a command line unless it is harmless there.
        safe = network if _HARMLESS.match(network) else "<network>"
        yield _Source(
            table=SWITCH,
            row=row,
            key=f"external_ids:{NEUTRON_MTU}",
            text=text,
            command=f"openstack network set --mtu {PLACE} {safe}",
        )
