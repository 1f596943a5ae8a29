# SPDX-License-Identifier: Apache-2.0
"""Edge (the kernel): how large a packet the kernel would send to an address in one piece.

A connected UDP socket knows the MTU of its route: that of the link, or of the route where it has
one, or what a router on the way has said since (ip(7), IP_MTU; ipv6(7), IPV6_MTU). Connecting sends
nothing. This takes 6 µs for an address. A request over pyroute2's IPRoute takes 900, and importing
that adds 22 MB to a bare interpreter: too much for a daemon that asks for a thousand.

The port is one that nobody encrypts, so that the answer is about the underlay: for a packet that an
IPsec policy covers the kernel would answer with what ESP leaves.
"""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterable

from .model.chassis import IpAddress

Ends = tuple[IpAddress, IpAddress]
"""A local and a remote address, of one version of IP."""

_DISCARD = 9
"""No tunnel may have a port below 1024 (schema.encap)."""
_IP_MTU, _IPV6_MTU = 14, 24
"""Source: linux include/uapi/linux/in.h, in6.h."""
_ASK = {
    4: (socket.AF_INET, socket.IPPROTO_IP, _IP_MTU),
    6: (socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_MTU),
}


def path_mtus(ends: Iterable[Ends]) -> dict[Ends, int]:
    """Ask for the MTU of paths.

    Args:
        ends: The paths.

    Returns:
        What the kernel says, in bytes. Paths of which it says nothing are left out: the local
        address is not there, or there is no route.
    """
    by_local: defaultdict[IpAddress, list[IpAddress]] = defaultdict(list)
    for local, remote in ends:
        by_local[local].append(remote)
    found: dict[Ends, int] = {}
    for local, remotes in by_local.items():
        family, level, option = _ASK[local.version]
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.bind((str(local), 0))
                for remote in remotes:
                    mtu = _asked(asking, (level, option), remote)
                    if mtu is not None:
                        found[local, remote] = mtu
        except OSError:
            continue
    return found


def _asked(asking: socket.socket, option: tuple[int, int], remote: IpAddress) -> int | None:
    try:
        asking.connect((str(remote), _DISCARD))
        return asking.getsockopt(*option)
    except OSError:
        return None
