# SPDX-License-Identifier: Apache-2.0
"""Pure: what a look at this machine gives. Nothing here holds a secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ...model.chassis import IpAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit of systemd, in systemd's words (org.freedesktop.systemd1(5))."""

    name: str
    """Without ``.service``."""
    load: str = "not-found"
    """LoadState."""
    active: str = "inactive"
    """ActiveState."""
    sub: str = ""
    """SubState."""
    starts: str = ""
    """UnitFileState: enabled, disabled, masked and others."""
    result: str = ""
    start_post: str = ""
    """ExecStartPost; empty: none."""
    reload: str = ""
    """ExecReload."""
    kill_signal: str = ""
    """KillSignal, a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """The IKE daemon behind a vici socket."""

    fault: str = ""
    """Why nobody answers there; empty: it answers."""
    version: str = ""
    plugins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pluto:
    """Libreswan."""

    fault: str = ""
    """Why it does not answer; empty: it does."""
    version: str = ""
    """Of its programs; empty: it does not answer."""
    included: tuple[str, ...] = ()
    """Which files of secrets it is told to read besides its own, as patterns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonFiles:
    """What the settings of strongSwan say, as far as it matters here."""

    ours: str = ""
    """Where the settings that come with ovn-ipsec are; empty: nowhere."""
    filelog: str = ""
    """Which file has it write a log of its own; empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modules:
    """Modules of the running kernel."""

    release: str
    here: frozenset[str] = frozenset()
    """Loaded or built in."""
    on_disk: frozenset[str] | None = frozenset()
    """That could be loaded; None: the kernel's folder is not here, as in a container."""
    blacklisted: Mapping[str, str] = field(default_factory=dict)
    """The file of modprobe.d that keeps each from being loaded."""


class Way(StrEnum):
    """Out of this host or into it."""

    OUT = "out"
    IN = "in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block policy of the guard: any remote address, one local one and a port."""

    way: Way
    local: IpAddress
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptGuard:
    """What the disk says has to be denied from boot on."""

    path: str
    ports: frozenset[int] = frozenset()
    local: frozenset[IpAddress] = frozenset()
    fault: str = ""
    """Why it cannot be read; empty: it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """Over which link an address is reached."""

    link: str
    link_mtu: int
    route_mtu: int | None = None
    """That of the route, or what a router on the way has said; None: neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who has a UDP port."""

    port: int
    program: str = ""
    """Empty: a process that cannot be seen from here."""
    pid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A file that Open_vSwitch names."""

    path: str
    fault: str = ""
    """Why it is of no use; empty: it was read."""
    mode: int = 0
    data: bytes = b""
    """Certificates in PEM; of a private key only the public half, in DER; of a secret nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The files that Open_vSwitch names; None for each that it does not."""

    certificate: Content | None = None
    private_key: Content | None = None
    ca_cert: Content | None = None
    secret: Content | None = None
