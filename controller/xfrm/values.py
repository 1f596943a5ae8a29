# SPDX-License-Identifier: Apache-2.0
"""What the kernel's IPsec tables hold, as values.

Pure. Numbers are from include/uapi/linux/xfrm.h.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Self, TypeAlias

from ovn_ipsec.model.chassis import IpAddress

IpNetwork: TypeAlias = IPv4Network | IPv6Network
OCTET = 0xFF


class _Number(IntEnum):
    """A number of the kernel's, which may be newer than this list.

    Other programs use both tables too, and what they put there must not keep us from reading our
    own entries. So a number without a name is kept as it is, and equals no name.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int) or not 0 <= value <= OCTET:
            return None
        opaque = int.__new__(cls, value)
        opaque._name_, opaque._value_ = f"UNKNOWN_{value}", value
        return opaque


class PolicyDirection(_Number):
    """XFRM_POLICY_*; the last three are policies of single sockets."""

    IN = 0
    OUT = 1
    FORWARD = 2
    SOCKET_IN = 3
    SOCKET_OUT = 4
    SOCKET_FORWARD = 5


class Action(_Number):
    """XFRM_POLICY_ALLOW and XFRM_POLICY_BLOCK."""

    ALLOW = 0
    BLOCK = 1


class Mode(_Number):
    """XFRM_MODE_*."""

    TRANSPORT = 0
    TUNNEL = 1
    ROUTE_OPTIMIZATION = 2
    IN_TRIGGER = 3
    BEET = 4
    IPTFS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which packets a policy is for; a mask of 0 means any port, a proto of 0 any protocol."""

    src: IpNetwork
    dst: IpNetwork
    proto: int = 0
    sport: int = 0
    sport_mask: int = 0
    dport: int = 0
    dport_mask: int = 0
    user: int = 0
    """Stored and compared by the kernel as part of the key, but no packet is matched by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The transform that a policy asks for."""

    src: IpAddress
    dst: IpAddress
    proto: int
    """50 is ESP."""
    spi: int
    """0 means any SA with this reqid."""
    reqid: int
    mode: Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class XfrmPolicy:
    """One entry of the kernel's SPD."""

    direction: PolicyDirection
    selector: Selector
    priority: int
    """The smaller number wins."""
    action: Action
    templates: tuple[Template, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class XfrmState:
    """One entry of the kernel's SAD."""

    src: IpAddress
    dst: IpAddress
    spi: int
    proto: int
    reqid: int
    mode: Mode
    made_at: int = field(default=0, compare=False)
    """Wall time, in seconds since the epoch."""
    bytes: int = field(default=0, compare=False)
    """What it has carried by now, without the header and trailer of ESP; likewise for packets."""
    packets: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class XfrmEvents:
    """What happened since the last reading; all of it, if events were lost."""

    policy_added: bool = False
    policy_deleted: bool = False
    policies_flushed: bool = False
    sa_added: bool = False
    sa_deleted: bool = False
    sa_flushed: bool = False
    sa_expired: bool = False
    ended: tuple[XfrmState, ...] = field(default=(), compare=False)
    """SAs that were deleted or have expired, with what they came to."""


NO_EVENTS = XfrmEvents()
ALL_EVENTS = XfrmEvents(
    policy_added=True,
    policy_deleted=True,
    policies_flushed=True,
    sa_added=True,
    sa_deleted=True,
    sa_flushed=True,
    sa_expired=True,
)
"""Events were lost."""
