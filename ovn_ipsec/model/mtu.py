# SPDX-License-Identifier: Apache-2.0
"""Pure: how large a tenant's IP packet may be, so that it crosses a link in one piece.

A tunnel packet is, from outside to inside: IP; a UDP header where there is NAT-T; the ESP header
and its IV; UDP, Geneve or VXLAN, Ethernet, the tenant's IP packet; padding, ESP's trailer, the ICV.
In transport mode the outer IP header is that of the tunnel. From UDP to the trailer everything is
encrypted and padded to whole blocks, so the room for it goes in steps of a block.

Source: RFC 4303 section 2, RFC 3948 section 2.1, RFC 8926 section 3, RFC 7348 section 5; linux
net/xfrm/xfrm_state.c, __xfrm_state_mtu; ovn lib/ovn-util.h, GENEVE_TUNNEL_OVERHEAD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .chassis import EncapType
from .policy import Profile

IP_HEADER = MappingProxyType({4: 20, 6: 40})
UDP_HEADER = 8
ETHERNET_HEADER = 14
"""Of the frame in the tunnel. A frame with a VLAN tag (other_config:vlan-passthru) has 4 more."""
TUNNEL_HEADER = MappingProxyType({EncapType.GENEVE: 8 + 8, EncapType.VXLAN: 8})
"""With Geneve, OVN sends one option of 8 bytes."""
ESP_HEADER, ESP_TRAILER = 8, 2
"""SPI and sequence number; pad length and next header."""
MTU_MIN, MTU_MAX = 68, 65_535
"""What an MTU can be (RFC 791): the least is that of any IPv4 link."""
LINK_MAX = 65_536
"""That of a loopback interface in Linux."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EspSizes:
    """Bytes of an ESP packet that depend on the suite."""

    iv: int
    block: int
    """What is encrypted is padded to a multiple of this, at least 4."""
    icv: int


AEAD = EspSizes(iv=8, block=4, icv=16)
"""AES-GCM with an ICV of 16 (RFC 4106) and ChaCha20-Poly1305 (RFC 7634)."""
CBC_SHA256 = EspSizes(iv=16, block=16, icv=16)
"""AES-CBC (RFC 3602) with HMAC-SHA2-256, cut to 128 bits (RFC 4868)."""

BY_PROFILE: Mapping[Profile, EspSizes] = MappingProxyType(
    {
        Profile.DEFAULT: AEAD,
        Profile.CHACHA20: AEAD,
        Profile.AES256_SHA256: CBC_SHA256,
        Profile.CNSA: AEAD,
        Profile.PQ: AEAD,
    }
)
_BY_ALGORITHM = {"AES_GCM_16": AEAD, "CHACHA20_POLY1305": AEAD, "AES_CBC": CBC_SHA256}
"""By the first word of a suite in strongSwan's spelling, without the size of its key."""


def sizes_of(suite: str, profile: Profile) -> EspSizes:
    """Tell what ESP takes from a packet.

    Args:
        suite: What was negotiated, such as ``AES_GCM_16-256``; empty: nothing yet.
        profile: What is to be negotiated; it counts where the suite is not one of ours.
    """
    algorithm = suite.partition("/")[0].partition("-")[0]
    return _BY_ALGORITHM.get(algorithm, BY_PROFILE[profile])


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """What is around a tenant's frame."""

    type: EncapType
    version: int
    """Of the outer IP: 4 or 6."""
    esp: EspSizes | None = None
    """None: in clear."""
    in_udp: bool = False
    """Whether ESP is in UDP (NAT-T)."""


def inner_mtu(path: int, wrapping: Wrapping) -> int:
    """Compute the largest IP packet of a tenant that needs no fragments.

    Args:
        path: The MTU of the path between both ends.
        wrapping: What is around the packet.

    Returns:
        Bytes, 0 where there is no room at all.
    """
    room = path - IP_HEADER[wrapping.version]
    if (esp := wrapping.esp) is not None:
        room -= _around(esp, in_udp=wrapping.in_udp)
        room = room // esp.block * esp.block - ESP_TRAILER
    return max(0, room - _tunnel(wrapping))


def path_mtu(inner: int, wrapping: Wrapping) -> int:
    """Compute the smallest MTU of a path that leaves so much to tenants.

    Args:
        inner: Bytes of their largest IP packet.
        wrapping: What is around it.
    """
    needed = inner + _tunnel(wrapping)
    if (esp := wrapping.esp) is not None:
        needed = -(-(needed + ESP_TRAILER) // esp.block) * esp.block
        needed += _around(esp, in_udp=wrapping.in_udp)
    return needed + IP_HEADER[wrapping.version]


def _tunnel(wrapping: Wrapping) -> int:
    return UDP_HEADER + TUNNEL_HEADER[wrapping.type] + ETHERNET_HEADER


def _around(esp: EspSizes, *, in_udp: bool) -> int:
    """Bytes of ESP that are not part of what is padded."""
    return ESP_HEADER + esp.iv + esp.icv + (UDP_HEADER if in_udp else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """An interface of a workload on the integration bridge of this host."""

    name: str
    port: str
    """The logical port that it belongs to."""
    mtu: int


def larger(interfaces: tuple[Interface, ...], inner: int | None) -> tuple[Interface, ...]:
    """Those that let a workload send more than what is left; none where that is not known."""
    return tuple(one for one in interfaces if inner is not None and one.mtu > inner)
