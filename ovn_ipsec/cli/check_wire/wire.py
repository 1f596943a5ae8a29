# SPDX-License-Identifier: Apache-2.0
"""Edge: probes sent to a peer, and the interface watched by which they leave.

Source: packet(7), linux include/uapi/linux/if_packet.h and filter.h.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import struct
from time import monotonic

from ...errors import EdgeError
from .probes import COUNT, MARKER_BYTES, SIZE_MAX, Ends, Sight, classify, payload, sizes
from .verdict import Tried

PACE_S, SETTLE_S = 0.05, 1.0
"""Between two probes, and behind the last one."""
_ETH_P_ALL, _IP = 0x0003, (0x0800, 0x86DD)
_OUTGOING = 4
"""PACKET_OUTGOING."""
_SOL_PACKET, _STATISTICS = 263, 6
_ATTACH_FILTER, _BUFFER_FORCE = 26, 33
_BUFFER_BYTES = 1 << 23
_FILTER = (
    (0x20, 0, 0, 0xFFFFF004),  # the direction
    (0x15, 0, 3, _OUTGOING),
    (0x80, 0, 0, 0),  # the length
    (0x25, 1, 0, SIZE_MAX),
    (0x06, 0, 0, 0x40000),
    (0x06, 0, 0, 0),
)
"""struct sock_filter: what goes out and is small enough, so that much traffic does no harm."""


def try_pair(ends: Ends) -> Tried:
    """Send probes and see what leaves.

    Raises:
        EdgeError: We may not look, or there is no way to the peer.
    """
    device = _device(ends)
    marker = secrets.token_bytes(MARKER_BYTES)
    chosen = sizes(secrets.randbelow(1 << 16) for _ in range(COUNT))
    refused: dict[int, str] = {}
    seen: list[Sight] = []
    try:
        with _capture(device) as capture, _sender(ends) as sender:
            for size in secrets.SystemRandom().sample(chosen, COUNT):
                try:
                    sender.sendto(payload(ends.type, marker, size), (str(ends.remote), ends.port))
                except OSError as error:
                    refused[size] = error.strerror or type(error).__name__
                seen += _look(capture, ends, marker, PACE_S)
            seen += _look(capture, ends, marker, SETTLE_S)
            overlooked = _overlooked(capture)
    except OSError as error:
        raise EdgeError(f"cannot watch {device}: {error.strerror or error}") from error
    return Tried(
        device=device, sizes=chosen, refused=refused, seen=tuple(seen), overlooked=overlooked
    )


def _look(capture: socket.socket, ends: Ends, marker: bytes, time_s: float) -> list[Sight]:
    until, found = monotonic() + time_s, []
    while (left := until - monotonic()) > 0:
        capture.settimeout(left)
        try:
            packet, (_, protocol, direction, *_) = capture.recvfrom(SIZE_MAX + 1)
        except TimeoutError:
            break
        if direction == _OUTGOING and protocol in _IP:
            sight = classify(packet, ends, marker)
            found += [] if sight is None else [sight]
    return found


def _capture(device: str) -> socket.socket:
    # Without a protocol it takes nothing until it is bound to the interface.
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    try:
        program = b"".join(struct.pack("=HBBI", *step) for step in _FILTER)
        buffer = ctypes.create_string_buffer(program)
        attached = struct.pack("@HP", len(_FILTER), ctypes.addressof(buffer))
        opened.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, attached)
        opened.setsockopt(socket.SOL_SOCKET, _BUFFER_FORCE, _BUFFER_BYTES)
        opened.bind((device, _ETH_P_ALL))
    except OSError:
        opened.close()
        raise
    return opened


def _sender(ends: Ends) -> socket.socket:
    family = socket.AF_INET if ends.local.version == 4 else socket.AF_INET6
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        opened.bind((str(ends.local), 0))
    except OSError:
        opened.close()
        raise
    return opened


def _overlooked(capture: socket.socket) -> int:
    counted = capture.getsockopt(_SOL_PACKET, _STATISTICS, struct.calcsize("=II"))
    return int(struct.unpack("=II", counted)[1])


def _device(ends: Ends) -> str:
    """The interface by which packets for the peer leave."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - --help stays quick
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        with IPRoute() as kernel:
            (route,) = kernel.route("get", dst=str(ends.remote), src=str(ends.local))
            device = socket.if_indextoname(route.get_attr("RTA_OIF"))
    except (NetlinkError, OSError, ValueError) as error:
        said = os.strerror(error.code) if isinstance(error, NetlinkError) else str(error)
        raise EdgeError(f"no way from {ends.local} to {ends.remote}: {said}") from error
    if device == "lo":
        raise EdgeError(f"{ends.remote} is an address of this host: nothing leaves for it")
    return device
