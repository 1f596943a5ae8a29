# SPDX-License-Identifier: Apache-2.0
"""Edge: a workload of our own on this chassis: a port of the integration bridge in a namespace.

It is alone in that network namespace, so that no address or rule of the host concerns it. One at a
time: a lock on a file tells an evaluation that runs from what one has left behind.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ovs.db.idl
from ovsdbapp.backend.ovs_idl.command import BaseCommand

from ...clock import monotonic
from ...errors import EdgeError
from ...ovsdb.commands import Commands
from ...ovsdb.schemas import VSWITCH_WORKLOADS
from ...ovsdb.waiting import wait_until
from ...schema import open_vswitch
from ..database import connected
from ..local import own_rundir
from ..settings import Settings
from .network import Place

NETWORK = DEVICE = "ovn-ipsec-eval0"
"""The network namespace, and the interface in it: names of interfaces have 15 characters."""
IFACE_ID = "iface-id"
"""The logical port of an interface (ovn-controller(8))."""
_MADE_S = 30.0


@contextmanager
def local_database(settings: Settings) -> Iterator[Commands]:
    """Connect to the database of Open vSwitch on this host.

    Raises:
        OvsdbError: It does not answer.
    """
    remote = f"unix:{own_rundir()}/db.sock"
    with connected(settings, remote, VSWITCH_WORKLOADS) as vswitch:
        yield vswitch


def own_names(vswitch: Commands) -> tuple[str, str, str]:
    """Say who this chassis is.

    Returns:
        Its name, its first encap address, its integration bridge.

    Raises:
        EdgeError: It is none.
    """
    row = vswitch.first(open_vswitch.TABLE)
    ids = {} if row is None else dict(row.external_ids)
    name = ids.get(open_vswitch.SYSTEM_ID, "")
    address = ids.get(open_vswitch.ENCAP_IP, "").split(",")[0].strip()
    if not name or not address:
        raise EdgeError(
            "this host is no chassis: Open_vSwitch.external_ids lacks system-id or ovn-encap-ip"
        )
    return name, address, ids.get(open_vswitch.BRIDGE, "br-int")


@contextmanager
def lock() -> Iterator[None]:
    """Be the only evaluation on this host.

    Raises:
        EdgeError: Another one runs.
    """
    path = own_rundir() / f"{DEVICE}.lock"
    try:
        file = _locked(path)
    except BlockingIOError:
        raise EdgeError(f"another evaluation runs on this host: it holds {path}") from None
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}; run this as root") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(file)


def _locked(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except OSError:
            os.close(file)
            raise
        os.close(file)  # the one that held it has just deleted it


class _Port(BaseCommand):  # type: ignore[misc]
    """Make our port, or take it away."""

    def __init__(self, api: Commands, bridge: str, logical_port: str) -> None:
        """Store which.

        Args:
            api: Of the local database.
            bridge: The integration bridge.
            logical_port: What it is bound to; empty: there is to be no port.
        """
        super().__init__(api)
        self._bridge, self._logical_port = bridge, logical_port

    def run_idl(self, txn: ovs.db.idl.Transaction) -> None:
        tables = self.api.tables
        for bridge in tables["Bridge"].rows.values():
            for port in bridge.ports:
                if port.name == DEVICE:
                    bridge.delvalue("ports", port)
                    self.result = True
        if not self._logical_port:
            return
        found = [row for row in tables["Bridge"].rows.values() if row.name == self._bridge]
        if not found:
            raise EdgeError(f"there is no bridge {self._bridge} on this host")
        interface = txn.insert(tables["Interface"])
        interface.name, interface.type = DEVICE, "internal"
        interface.external_ids = {IFACE_ID: self._logical_port}
        port = txn.insert(tables["Port"])
        port.name, port.interfaces = DEVICE, [interface]
        found[0].addvalue("ports", port)


def left_behind(vswitch: Commands) -> list[str]:
    """Name what an earlier evaluation has left on this host; the lock must be held."""
    from pyroute2 import netns  # noqa: PLC0415 - --help stays quick

    found = [f"port {DEVICE}"] if _has_port(vswitch) else []
    return found + ([f"network namespace {NETWORK}"] if NETWORK in netns.listnetns() else [])


def _has_port(vswitch: Commands) -> bool:
    return any(row.name == DEVICE for row in vswitch.rows("Port"))


def remove(settings: Settings) -> None:
    """Take port and namespace away, as far as they are there.

    Raises:
        OvsdbError: Open vSwitch does not answer.
    """
    from pyroute2 import netns  # noqa: PLC0415 - --help stays quick

    # The namespace at last: a port that is in none would be back in that of the host.
    try:
        with local_database(settings) as vswitch:
            if _has_port(vswitch):
                vswitch.run(_Port(vswitch, "", ""))
    finally:
        if NETWORK in netns.listnetns():
            netns.remove(NETWORK)


def make(vswitch: Commands, bridge: str, place: Place, mtu: int) -> None:
    """Make them; what an earlier evaluation has left must be away.

    Args:
        vswitch: The local database.
        bridge: The integration bridge.
        place: The logical port and its addresses.
        mtu: Of the interface.

    Raises:
        EdgeError: Open vSwitch or the kernel refuses, or takes too long.
    """
    from pyroute2 import IPRoute, netns  # noqa: PLC0415 - --help stays quick
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    vswitch.run(_Port(vswitch, bridge, place.port))
    try:
        netns.create(NETWORK)
        with IPRoute() as kernel:
            index, file = _wait_for_link(vswitch, kernel), _network_file()
            try:
                kernel.link("set", index=index, net_ns_fd=file)
            finally:
                os.close(file)
        with inside(), IPRoute() as kernel:
            (index,) = kernel.link_lookup(ifname=DEVICE)
            kernel.link("set", index=index, address=place.mac, mtu=mtu)
            kernel.addr("add", index=index, address=place.ip, prefixlen=place.prefix)
            kernel.link("set", index=index, state="up")
    except (NetlinkError, OSError, ValueError) as error:
        raise EdgeError(f"cannot make a workload on this host: {error}") from error


def _wait_for_link(vswitch: Commands, kernel: Any) -> int:
    end = monotonic() + _MADE_S
    while monotonic() < end:
        if found := kernel.link_lookup(ifname=DEVICE):
            return int(found[0])
        wait_until(vswitch.session, lambda: False, 0.1)
    raise EdgeError(f"ovs-vswitchd has made no interface {DEVICE} within {_MADE_S:.0f} s")


@contextmanager
def inside() -> Iterator[None]:
    """Be in the network namespace for the length of a block; a socket made there stays there."""
    from pyroute2 import netns  # noqa: PLC0415 - --help stays quick

    file = _network_file()  # by its name, netns would make one that is not there
    try:
        netns.pushns()
        try:
            netns.setns(file)
            yield
        finally:
            netns.popns()
    finally:
        os.close(file)


def _network_file() -> int:
    return os.open(f"/run/netns/{NETWORK}", os.O_RDONLY | os.O_CLOEXEC)


def entered(words: list[str]) -> list[str]:
    """The command that runs another one there, which ends when we do (util-linux)."""
    network = f"--net=/run/netns/{NETWORK}"
    return ["nsenter", network, "--", "setpriv", "--pdeathsig", "KILL", "--", *words]
