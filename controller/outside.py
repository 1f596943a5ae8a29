# SPDX-License-Identifier: Apache-2.0
"""Everything outside this process that a controller uses; passed in, so tests can replace it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ovn_ipsec import clock, ikes, paths
from ovn_ipsec.clock import Clock
from ovn_ipsec.evidence.events import JOURNAL
from ovn_ipsec.model.chassis import Pair
from ovn_ipsec.model.ike import NAMES, Ike, IkesHere
from ovn_ipsec.ovsdb import streams
from ovn_ipsec.ovsdb.schemas import SOUTHBOUND, VSWITCH
from ovn_ipsec.ovsdb.session import Session

from . import local
from .credentials.keeper import CredentialKeeper
from .credentials.source import CredentialSource
from .evidence.journal import FileJournal, Journal
from .guard.layer import GuardLayer
from .guard.nft import NftGuardLayer
from .guard.xfrm import XfrmGuardLayer
from .ike.backend import IkeBackend
from .ike.delegate import Delegate
from .ike.libreswan import tools as libreswan
from .ike.libreswan.daemon import Libreswan
from .ike.strongswan import StrongSwan
from .kernel.tables import KernelTables, NetlinkTables
from .mtu import AskPaths
from .ports.keeper import PortKeeper
from .ports.knock import knock
from .ports.ovsdb import live_monitor_ipsec
from .state_dir import State, StateDir, boot_id

TlsFiles = tuple[str, str, str]
"""Paths: private key, certificate, CA of the other end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SouthboundAddress:
    """Where the southbound is, and what is monitored there."""

    remotes: str
    """Comma-separated OVSDB remotes (ovsdb(7))."""
    probe_interval_s: float
    digests: tuple[str, ...]
    """Chassis whose Chassis_Private rows are monitored, and no others: our own first."""
    tls: TlsFiles | None
    """For ssl: remotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IkeAddress:
    """Which IKE daemon, and where."""

    ike: Ike = Ike.STRONGSWAN
    vici: str = ""
    """URI of strongSwan's socket; empty for another daemon."""

    @property
    def where(self) -> str:
        """It in words: a socket, or a name."""
        return self.vici or NAMES[self.ike]


class Opens(Protocol):
    """Makes a session to a southbound, which the caller opens."""

    def __call__(self, address: SouthboundAddress) -> Session:
        """Make the session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The edges, none of them opened yet."""

    clock: Clock
    vswitch: Session
    """The local Open_vSwitch database."""
    southbound: Opens
    layers: tuple[GuardLayer, ...]
    """The layers of the guard: nftables first, which judges last."""
    ike: Callable[[IkeAddress], IkeBackend]
    """The IKE daemon at an address.

    Raises IkeError if that is invalid."""
    ikes: Callable[[str], IkesHere]
    """Which IKE daemons this host has; strongSwan's socket is given by its URI."""
    kernel: KernelTables
    state: State
    journal: Journal
    """Of evidence."""
    credentials: Callable[[], CredentialSource]
    """Makes the source for one chassis name; another name gets another source."""
    ports: PortKeeper
    knock: Callable[[Pair], None]
    """Sends a datagram over a pair, so that the peer hears ESP without any traffic."""
    monitor_ipsec: Callable[[], int | None]
    """The process id of a live ovs-monitor-ipsec."""
    name_override: Callable[[], str | None]
    """The chassis name that takes precedence over external_ids:system-id."""
    path_mtus: AskPaths
    """Asks the kernel for the MTUs of paths."""
    boot: str
    """Identifies this boot of the machine; empty: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the real things are, according to the command line and the environment."""

    ovs_remote: str
    name: str | None
    state_dir: Path
    sysconfdir: Path
    rundir: Path


def real(places: Places) -> Outside:
    """Make the edges to the real things; nothing is opened, and only the boot's id is read."""
    return Outside(
        clock=clock.SYSTEM,
        vswitch=Session(places.ovs_remote, VSWITCH, probe_interval_s=0),
        southbound=_southbound,
        layers=(NftGuardLayer(), XfrmGuardLayer()),
        ike=lambda address: _ike(address, places.state_dir / "libreswan"),
        ikes=ikes.look,
        kernel=NetlinkTables(),
        state=StateDir(places.state_dir),
        journal=FileJournal(places.state_dir / JOURNAL),
        credentials=lambda: CredentialKeeper(places.state_dir),
        ports=PortKeeper(places.rundir),
        knock=knock,
        monitor_ipsec=live_monitor_ipsec,
        name_override=lambda: local.name_override(places.name, places.sysconfdir),
        path_mtus=paths.path_mtus,
        boot=boot_id(),
    )


def backends(outside: Outside, vici: str) -> tuple[IkeBackend, ...]:
    """Make the edges to all IKE daemons that this host has, not opened yet.

    Args:
        outside: The edges.
        vici: URI of strongSwan's socket.
    """
    found = outside.ikes(vici)
    kinds = found.running | found.installed or {Ike.STRONGSWAN}
    return tuple(
        outside.ike(IkeAddress(ike=ike, vici=vici if ike is Ike.STRONGSWAN else ""))
        for ike in sorted(kinds)
    )


def _ike(address: IkeAddress, folder: Path) -> IkeBackend:
    match address.ike:
        case Ike.STRONGSWAN:
            return StrongSwan(address.vici)
        case Ike.LIBRESWAN:
            return Libreswan(libreswan.Places(folder=folder))
        case Ike.DELEGATE:
            return Delegate()


def _southbound(address: SouthboundAddress) -> Session:
    rows = [["name", "==", name] for name in address.digests]
    session = Session(
        address.remotes,
        SOUTHBOUND,
        probe_interval_s=address.probe_interval_s,
        only={"Chassis_Private": rows},
    )
    key, certificate, ca_cert = address.tls or ("", "", "")
    if key and certificate and ca_cert:
        session.use_tls(streams.TlsFiles(private_key=key, certificate=certificate, ca_cert=ca_cert))
    return session
