# SPDX-License-Identifier: Apache-2.0
"""Pure: chassis, their encaps, and the pairs of encaps between which tunnels run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NewType

ChassisName = NewType("ChassisName", str)
IpAddress = IPv4Address | IPv6Address

CHASSIS_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}\Z")
"""The syntax of a chassis name, which becomes an IKE identity (a DNS name, RFC 1035 2.3.4)."""


class EncapType(StrEnum):
    """Tunnel types over UDP that IPsec protects here, most preferred first."""

    GENEVE = "geneve"
    VXLAN = "vxlan"


DEFAULT_PORT: dict[EncapType, int] = {EncapType.GENEVE: 6081, EncapType.VXLAN: 4789}
"""UDP destination ports: RFC 8926 section 3.3, RFC 7348 section 5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encap:
    """One row of SB Encap: where a chassis can be reached, and with which tunnel type."""

    type: EncapType
    ip: IpAddress
    port: int
    """UDP port that its peers send to: options:dst_port, or else the default of the type."""
    csum: bool | None = None
    """options:csum, None if absent: our own tunnel ports repeat it, as ovn-controller's do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A local and a remote encap of one type, between which a tunnel runs."""

    peer: ChassisName
    type: EncapType
    local: IpAddress
    remote: IpAddress
    out_port: int
    """UDP port that we send to (the remote encap's)."""
    in_port: int
    """UDP port that the peer sends to (the local encap's)."""
