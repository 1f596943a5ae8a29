# SPDX-License-Identifier: Apache-2.0
"""Edge: what this host is, and what its processors do.

Source: proc(5), linux/ethtool.h.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...clock import monotonic
from ...errors import EdgeError
from . import readings
from .values import Facts, Sample

PROC = Path("/proc")


def sample() -> Sample:
    """Look what the processors have done so far.

    Raises:
        EdgeError: /proc does not say.
    """
    return readings.read_stat(_read("stat"), monotonic(), os.sysconf("SC_CLK_TCK"))


def facts(chassis: str, address: str) -> Facts:
    """Look what figures of this host depend on.

    Args:
        chassis: Its name.
        address: Its encap address.

    Raises:
        EdgeError: The kernel does not say.
    """
    processor, number = readings.read_cpuinfo(_read("cpuinfo"))
    device, mtu = device_of(address)
    return Facts(
        chassis=chassis,
        kernel=os.uname().release,
        boot=_read("sys/kernel/random/boot_id").strip(),
        processor=processor or os.uname().machine,
        processors=number,
        device=device,
        mtu=mtu,
        offloads=_offloads(device),
        drivers=readings.read_crypto(_read("crypto")),
    )


def device_of(address: str) -> tuple[str, int]:
    """Find the interface that has an address.

    Returns:
        Its name and its MTU.

    Raises:
        EdgeError: None has it, or the kernel does not say.
    """
    from pyroute2 import IPRoute  # noqa: PLC0415 - --help stays quick
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        with IPRoute() as kernel:
            for found in kernel.get_addr(address=address):
                (link,) = kernel.get_links(found["index"])
                return str(link.get_attr("IFLA_IFNAME")), int(link.get_attr("IFLA_MTU"))
    except (NetlinkError, OSError, ValueError) as error:
        raise EdgeError(f"cannot find the interface of {address}: {error}") from error
    raise EdgeError(f"no interface of this host has the encap address {address}")


def _offloads(device: str) -> tuple[str, ...]:
    from pyroute2.ethtool.ioctl import IoctlEthtool, NotSupportedError  # noqa: PLC0415

    try:
        features = IoctlEthtool(device).get_features()
        return readings.known_offloads((name, bool(is_on)) for name, is_on, *_ in features)
    except (OSError, NotSupportedError) as error:
        raise EdgeError(f"cannot read the offloads of {device}: {error}") from error


def _read(name: str) -> str:
    try:
        return (PROC / name).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise EdgeError(f"{PROC / name}: {error.strerror}") from error
