# SPDX-License-Identifier: Apache-2.0
"""The tunnel ports in the local Open_vSwitch database, and the stock daemon that reads them.

Edge (OVSDB through a Session; /proc). Input: port plans and marks. Output: what exists.

Interface rows are written only if a PortPlan says so, and plans are made in own mode only: any
foreign key in Interface.options makes ovn-controller replace the port. A mark goes to
Port.external_ids, which neither ovn-controller nor ovs-vswitchd acts upon.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import UUID

from ovs.db.idl import Transaction
from ovsdbapp.backend.ovs_idl.idlutils import RowNotFound

from ovn_ipsec.errors import OvsdbError
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.ovsdb.commands import Commands
from ovn_ipsec.ovsdb.session import Row, RowChange, Session
from ovn_ipsec.schema import open_vswitch
from ovn_ipsec.schema.port import CHASSIS_ID, MARK

from ..plan.ports.tunnels import LocalSettings, Mark, PortPlan, SeenPorts, TunnelPort
from .commands import commands_of
from .liveness import network_namespace

MONITOR = "ovs-monitor-ipsec"
CMDLINE_MAX = 65536
"""Bytes of a command line that are read: the program and its script come first."""


class LocalPorts:
    """The tunnel ports of the integration bridge, kept up by the rows that change."""

    def __init__(self) -> None:
        """Start knowing none; everything is read at the first look."""
        self._ports: dict[str, TunnelPort] = {}
        self._by_peer: dict[str, set[str]] = {}
        self._on_bridge: frozenset[str] = frozenset()
        self._port_of: dict[str, str] = {}
        self._interfaces: dict[str, tuple[str, ...]] = {}
        self._touched: set[str] = set()
        self._bridge: tuple[str, str] | None = None
        self._recount = True

    def note(self, changes: Iterable[RowChange]) -> bool:
        """Take in that rows changed. Returns whether one may be of a tunnel port."""
        some = False
        for change in changes:
            uuid = str(change.row.uuid)
            match change.table:
                case "Bridge":
                    self._recount = some = True
                case "Port":
                    self._touched.add(uuid)
                    some = True
                case "Interface" if uuid in self._port_of:
                    self._touched.add(self._port_of[uuid])
                    some = True
        return some

    def refresh(self, session: Session, bridge: str) -> Known[frozenset[str]] | Unknown:
        """Read what has changed.

        Args:
            session: Open, on Open_vSwitch.
            bridge: Name of the integration bridge.

        Returns:
            Peers whose ports are others than at the last look, or Unknown while disconnected or
            without that bridge.
        """
        if not session.loaded or not session.connected:
            return Unknown("the local Open_vSwitch database is not connected")
        row = _bridge(session, bridge)
        if row is None:
            return Unknown(f"there is no bridge {bridge}")
        identity = bridge, str(row.uuid)
        if self._recount or identity != self._bridge:
            members = frozenset(str(port.uuid) for port in row.ports)
            self._touched |= members ^ self._on_bridge
            self._on_bridge, self._bridge, self._recount = members, identity, False
        touched, self._touched = self._touched, set()
        peers: set[str] = set()
        for uuid in touched:
            peers |= self._read(session, uuid)
        return Known(frozenset(peers))

    def _read(self, session: Session, uuid: str) -> set[str]:
        for one in self._interfaces.pop(uuid, ()):
            self._port_of.pop(one, None)
        row = _row(session, uuid) if uuid in self._on_bridge else None
        old, new = self._ports.pop(uuid, None), None
        if row is not None:
            self._interfaces[uuid] = tuple(str(one.uuid) for one in row.interfaces)
            self._port_of.update(dict.fromkeys(self._interfaces[uuid], uuid))
            if CHASSIS_ID in row.external_ids:
                new = self._ports[uuid] = _port(row)
        if old == new:
            return set()
        if old is not None:
            self._by_peer[old.peer].discard(uuid)
        if new is not None:
            self._by_peer.setdefault(new.peer, set()).add(uuid)
        peers = {port.peer for port in (old, new) if port is not None}
        for peer in peers:
            if not self._by_peer[peer]:
                del self._by_peer[peer]
        return peers

    def peers(self) -> Iterable[str]:
        """Peers that have ports."""
        return self._by_peer.keys()

    def of(self, peers: Iterable[str]) -> tuple[TunnelPort, ...]:
        """The ports of some peers as of the last refresh, sorted by name."""
        found = (self._ports[uuid] for peer in peers for uuid in self._by_peer.get(peer, ()))
        return tuple(sorted(found, key=lambda port: port.name))


def observe(session: Session, bridge: str) -> Known[SeenPorts] | Unknown:
    """Read all tunnel ports at once.

    Args:
        session: Open, on Open_vSwitch.
        bridge: Name of the integration bridge.

    Returns:
        The ports, or Unknown while disconnected or without that bridge.
    """
    ports = LocalPorts()
    match ports.refresh(session, bridge):
        case Known():
            return Known(
                SeenPorts(
                    bridge=bridge, ports=ports.of(ports.peers()), used_names=used_names(session)
                )
            )
        case Unknown() as unknown:
            return unknown


def used_names(session: Session) -> frozenset[str]:
    """Read the names of all ports and interfaces of all bridges.

    Args:
        session: Open, on Open_vSwitch.
    """
    rows = (row for table in ("Port", "Interface") for row in session.rows(table))
    return frozenset(str(row.name) for row in rows)


def local_settings(session: Session, chassis: str) -> LocalSettings:
    """Read what the Open_vSwitch row says of tunnel ports, as ovn-controller does.

    Args:
        session: Open, on Open_vSwitch.
        chassis: Name of this chassis; a key with `-<chassis>` behind it wins.
    """
    row = session.first("Open_vSwitch")
    if row is None:
        return LocalSettings()
    external: dict[str, str] = row.external_ids

    def value(key: str) -> str:
        return external.get(f"{key}-{chassis}", external.get(key, ""))

    remote = value(open_vswitch.BRIDGE_REMOTE)
    return LocalSettings(
        set_local_ip=value(open_vswitch.SET_LOCAL_IP).lower() == "true",
        index=row.other_config.get(open_vswitch.CHASSIS_INDEX + chassis, ""),
        bridge_remote=bool(remote) and not remote.startswith("unix:"),
    )


def apply(session: Session, plan: PortPlan | None, marks: Sequence[Mark] = ()) -> None:
    """Send one transaction; the session collects its answer.

    A row that has gone meanwhile is passed over: the next observation shows what is left to do. A
    row that somebody changed meanwhile fails the whole transaction.

    Args:
        session: Open, on Open_vSwitch, not busy.
        plan: Changes of ports; None in adopt mode.
        marks: Changes of marks.

    Raises:
        OvsdbError: A write is still on its way, or the bridge has gone.
    """
    commands = commands_of(Commands(session), plan, marks)

    def build(txn: Transaction) -> None:
        txn.add_comment("ovn-ipsec-controller: tunnel ports")
        try:
            for command in commands:
                command.run_idl(txn)
        except RowNotFound as error:
            raise OvsdbError(str(error)) from error

    if commands:
        session.transact(build)


def live_monitor_ipsec(
    proc: Path = Path("/proc"), users: frozenset[int] | None = None
) -> int | None:
    """Find the stock ovs-monitor-ipsec, which would fight over the same kernel state.

    Another user's process does not count, whatever it is called: it could not drive the IKE daemon.

    Args:
        proc: Where proc(5) is mounted.
        users: Whose processes count, by user id; None: those of root and of our own user.

    Returns:
        The lowest process id of one that runs in this network namespace, or, where that cannot be
        told for lack of rights, in any.
    """
    users = frozenset({0, os.geteuid()}) if users is None else users
    own = network_namespace(proc / "self")
    with os.scandir(proc) as entries:
        pids = sorted(int(entry.name) for entry in entries if entry.name.isdecimal())
    for pid in pids:
        cmdline = _cmdline(f"{proc}/{pid}", users)
        if MONITOR.encode() in cmdline and _runs_monitor(cmdline):
            theirs = network_namespace(proc / str(pid))
            if None in (own, theirs) or own == theirs:
                return pid
    return None


def _cmdline(process: str, users: frozenset[int]) -> bytes:
    """The command line of a process of these users; empty: another's, a kernel thread, or gone.

    Every process of the host is asked every few seconds, so this is done with plain calls.
    """
    try:
        if os.stat(process).st_uid not in users:  # noqa: PTH116 - twice as fast
            return b""
        number = os.open(f"{process}/cmdline", os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(number, CMDLINE_MAX)
    except OSError:
        return b""
    finally:
        os.close(number)


def _runs_monitor(cmdline: bytes) -> bool:
    program, *arguments = os.fsdecode(cmdline).split("\0")
    if not Path(program).name.startswith("python"):
        return False
    script = next((argument for argument in arguments if not argument.startswith("-")), "")
    return Path(script).name == MONITOR


def _bridge(session: Session, name: str) -> Row | None:
    return next((row for row in session.rows("Bridge") if row.name == name), None)


def _row(session: Session, uuid: str) -> Row | None:
    return session.idl.tables["Port"].rows.get(UUID(uuid))


def _port(row: Row) -> TunnelPort:
    single = row.interfaces[0] if len(row.interfaces) == 1 else None
    return TunnelPort(
        row=str(row.uuid),
        name=str(row.name),
        chassis_id=str(row.external_ids[CHASSIS_ID]),
        type="" if single is None else str(single.type),
        options=() if single is None else tuple(sorted(single.options.items())),
        mark=row.external_ids.get(MARK),
    )
