# SPDX-License-Identifier: Apache-2.0
"""Pure: marked tunnel packets, and what a packet on the wire is: one of them in the clear, or ESP.

A probe is tunnel traffic to everything that looks at addresses and ports: the kernel's policies and
the guard. It has VNI 0, which is no network of OVN's, no option of OVN's, and a frame of a type for
local experiments: whatever of it arrives is dropped by the Open vSwitch there.

ESP hides the marker, so probes are told by their sizes. They are so far apart that no other cipher
or padding makes one look like the next.

Source: RFC 8926 section 3.4, RFC 7348 section 5, RFC 4303 section 2, RFC 3948 section 2, IEEE
802-2014 (88B5).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ...model.chassis import EncapType, IpAddress

COUNT = 10
MARKER_BYTES = 16
SIZE_FIRST, SIZE_STEP, SIZE_JITTER = 200, 64, 8
SIZE_MAX = 1200
"""Bytes of a packet beyond which none is a probe, in whatever way it leaves."""
UDP_HEADER, ESP_HEADER = 8, 8
OVERHEAD = range(26, SIZE_STEP + 18)
"""Bytes that ESP adds: its header, an IV of 8 or 16, padding and trailer, a check of 8 to 32."""
_HEADERS = {
    EncapType.GENEVE: bytes.fromhex("0000655800000000"),
    EncapType.VXLAN: bytes.fromhex("0800000000000000"),
}
_FRAME = bytes.fromhex("02000000000202000000000188b5")
_UDP, _ESP, _NAT_T = 17, 50, 4500


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Where probes go."""

    type: EncapType
    local: IpAddress
    remote: IpAddress
    port: int


class Kind(StrEnum):
    """What a packet is."""

    CLEAR = "clear"
    """A probe that anybody can read."""
    ESP = "esp"
    READABLE = "readable"
    """ESP in which a probe can be read: a null cipher, or a card that encrypts by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A packet that was seen."""

    kind: Kind
    size: int
    """Bytes of ESP, from its header on; of another kind, of the packet."""


def sizes(jitter: Iterable[int]) -> tuple[int, ...]:
    """Choose the sizes of probes, as UDP payloads.

    Args:
        jitter: A random number for each probe.
    """
    return tuple(
        SIZE_FIRST + SIZE_STEP * number + by % SIZE_JITTER for number, by in enumerate(jitter)
    )


def payload(kind: EncapType, marker: bytes, size: int) -> bytes:
    """Make a probe.

    Args:
        kind: Of the tunnel.
        marker: Random bytes.
        size: Bytes of the whole.
    """
    return (_HEADERS[kind] + _FRAME + marker).ljust(size, b"\0")


def classify(packet: bytes, ends: Ends, marker: bytes) -> Sight | None:
    """Tell what a packet is.

    Args:
        packet: From its IP header on.
        ends: Where probes go.
        marker: In each of them.

    Returns:
        None for one that is neither a probe nor ESP between these ends.
    """
    esp = _esp(packet, ends)
    if esp is None:
        return Sight(kind=Kind.CLEAR, size=len(packet)) if marker in packet else None
    return Sight(kind=Kind.READABLE if marker in esp else Kind.ESP, size=len(esp))


def _esp(packet: bytes, ends: Ends) -> bytes | None:
    """The ESP that a packet between these ends is, from its header on."""
    found = _body(packet)
    if found is None or found[:2] != (ends.local.packed, ends.remote.packed):
        return None
    _, _, protocol, body = found
    if protocol == _ESP:
        return body
    inner = body[UDP_HEADER:]
    if protocol != _UDP or int.from_bytes(body[2:4]) != _NAT_T or len(inner) < ESP_HEADER:
        return None  # a keepalive has one byte
    return inner if any(inner[:4]) else None


def _body(packet: bytes) -> tuple[bytes, bytes, int, bytes] | None:
    """Source, destination, protocol and content of a packet that is whole."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        if int.from_bytes(packet[6:8]) & 0x1FFF:
            return None  # not the first fragment
        start, end = (packet[0] & 0xF) * 4, int.from_bytes(packet[2:4])
        return packet[12:16], packet[16:20], packet[9], packet[start:end]
    if version == 6 and len(packet) >= 40:
        end = 40 + int.from_bytes(packet[4:6])
        return packet[8:24], packet[24:40], packet[6], packet[40:end]
    return None


def matches(size: int, esp: int) -> bool:
    """Tell whether a piece of ESP may be a probe.

    Args:
        size: Of the probe.
        esp: Bytes of ESP, from its header on.
    """
    return esp - size - UDP_HEADER in OVERHEAD
