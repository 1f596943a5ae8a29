# SPDX-License-Identifier: Apache-2.0
"""The tunnel ports in the local Open_vSwitch database, and the processes that care for them.

Edge (OVSDB by a Session; /proc). Input: port plans and marks. Output: what is there.

Interface rows are written only where a PortPlan says so, and plans are made in own mode only: any
foreign key in Interface.options makes ovn-controller replace the port. A mark goes to
Port.external_ids, which neither ovn-controller nor ovs-vswitchd acts upon.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from ovs.db.idl import Transaction

from ovn_ipsec.errors import OvsdbError
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.ovsdb.session import Row, Session

from .plan.tunnels import Mark, NewPort, PortPlan, Repair, SeenPorts, TunnelPort

CHASSIS_ID = "ovn-chassis-id"
MARK = "ovn-ipsec"
CONTROLLER = "ovn-controller"
MONITOR = "ovs-monitor-ipsec"


def observe(session: Session, bridge: str) -> Known[SeenPorts] | Unknown:
    """Read the tunnel ports.

    Args:
        session: Open, on Open_vSwitch.
        bridge: Name of the integration bridge.

    Returns:
        The ports, or Unknown while disconnected or without that bridge.
    """
    if not session.loaded or not session.connected:
        return Unknown("the local Open_vSwitch database is not connected")
    row = _bridge(session, bridge)
    if row is None:
        return Unknown(f"there is no bridge {bridge}")
    ports = [_port(port) for port in row.ports if CHASSIS_ID in port.external_ids]
    names = (str(some.name) for table in ("Port", "Interface") for some in session.rows(table))
    return Known(
        SeenPorts(
            bridge=bridge,
            ports=tuple(sorted(ports, key=lambda port: port.name)),
            used_names=frozenset(names),
        )
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

    def build(txn: Transaction) -> None:
        if plan is not None and not plan.is_empty:
            _build_ports(session, txn, plan)
        for mark in marks:
            port = _row(session, mark.row)
            if port is None:
                continue
            if mark.state is None:
                port.delkey("external_ids", MARK)
            else:
                port.setkey("external_ids", MARK, str(mark.state))

    if marks or (plan is not None and not plan.is_empty):
        session.transact(build)


def ovn_controller_alive(rundir: Path, proc: Path = Path("/proc")) -> bool:
    """Tell whether an ovn-controller runs.

    Args:
        rundir: $OVN_RUNDIR, where its pidfile is.
        proc: Where proc(5) is mounted.
    """
    try:
        pid = int((rundir / f"{CONTROLLER}.pid").read_text("ascii"))
        return (proc / str(pid) / "comm").read_text().strip() == CONTROLLER
    except (OSError, ValueError):
        return False


def live_monitor_ipsec(proc: Path = Path("/proc")) -> int | None:
    """Find the stock ovs-monitor-ipsec, which would fight over the same kernel state.

    Args:
        proc: Where proc(5) is mounted.

    Returns:
        The lowest process id of one that runs in this network namespace, or, where that cannot be
        told for lack of rights, in any.
    """
    own = _namespace(proc / "self")
    for pid in sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal()):
        try:
            cmdline = (proc / str(pid) / "cmdline").read_bytes()
        except OSError:
            continue
        if MONITOR.encode() in cmdline and _runs_monitor(cmdline):
            theirs = _namespace(proc / str(pid))
            if None in (own, theirs) or own == theirs:
                return pid
    return None


def _runs_monitor(cmdline: bytes) -> bool:
    program, *arguments = os.fsdecode(cmdline).split("\0")
    if not Path(program).name.startswith("python"):
        return False
    script = next((argument for argument in arguments if not argument.startswith("-")), "")
    return Path(script).name == MONITOR


def _namespace(process: Path) -> Path | None:
    try:
        return (process / "ns" / "net").readlink()
    except OSError:
        return None


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


def _build_ports(session: Session, txn: Transaction, plan: PortPlan) -> None:
    bridge = _bridge(session, plan.bridge)
    if bridge is None:
        raise OvsdbError(f"there is no bridge {plan.bridge}")
    txn.add_comment("ovn-ipsec-controller: tunnel ports")
    for port in plan.delete:
        row = _row(session, port.row)
        if row is not None:
            row.verify("external_ids")
            bridge.delvalue("ports", row)
    for repair in plan.repair:
        row = _row(session, repair.port.row)
        if row is not None:
            _repair(txn, row, repair)
    for new in plan.create:
        bridge.addvalue("ports", _insert(txn, new))


def _repair(txn: Transaction, port: Row, repair: Repair) -> None:
    port.verify("interfaces")
    if len(port.interfaces) == 1:
        interface = port.interfaces[0]
        interface.verify("options")
    else:
        interface = txn.insert(txn.idl.tables["Interface"])
        interface.name = port.name
        port.interfaces = [interface]
    interface.type = str(repair.wanted.type)
    interface.options = dict(repair.wanted.options)


def _insert(txn: Transaction, new: NewPort) -> Row:
    interface = txn.insert(txn.idl.tables["Interface"])
    interface.name = new.name
    interface.type = str(new.wanted.type)
    interface.options = dict(new.wanted.options)
    port = txn.insert(txn.idl.tables["Port"])
    port.name = new.name
    port.interfaces = [interface]
    port.external_ids = {CHASSIS_ID: new.wanted.chassis_id}
    return port
