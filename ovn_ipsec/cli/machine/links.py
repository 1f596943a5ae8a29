# SPDX-License-Identifier: Apache-2.0
"""Edge: over which link this host reaches an address, and what the link and the route carry.

Source: linux include/uapi/linux/rtnetlink.h, RTA_OIF, RTA_METRICS, RTAX_MTU; if_link.h, IFLA_MTU.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...paths import Ends
from .values import Egress


def egress(ends: Iterable[Ends]) -> dict[Ends, Egress]:
    """Ask for the links of paths.

    Args:
        ends: A local and a remote address each.

    Returns:
        Without those to which there is no route.

    Raises:
        OSError: Netlink does not answer.
    """
    from pyroute2 import IPRoute  # noqa: PLC0415 - --help stays quick
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    found: dict[Ends, Egress] = {}
    with IPRoute() as kernel:
        for local, remote in ends:
            try:
                (route, *_) = kernel.route("get", dst=str(remote), src=str(local))
                (link, *_) = kernel.get_links(route.get_attr("RTA_OIF"))
            except (NetlinkError, ValueError):
                continue
            metrics = route.get_attr("RTA_METRICS")
            found[local, remote] = Egress(
                link=link.get_attr("IFLA_IFNAME"),
                link_mtu=link.get_attr("IFLA_MTU"),
                route_mtu=None if metrics is None else metrics.get_attr("RTAX_MTU"),
            )
    return found
