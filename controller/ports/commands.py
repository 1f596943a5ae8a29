# SPDX-License-Identifier: Apache-2.0
"""Changes of tunnel ports, as ovsdbapp commands; the loop runs them within one transaction.

Edge (OVSDB). ovsdbapp's own command makes a port. Its others are unsuitable: ``del_port`` finds a
port by its name, which may belong to another port by now, and checks nothing about it; ``db_set``
merges into a map where we need to replace it, and writes others' keys back as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ovs.db.idl import Transaction
from ovsdbapp.backend.ovs_idl.command import BaseCommand
from ovsdbapp.backend.ovs_idl.idlutils import row_by_value
from ovsdbapp.schema.open_vswitch.commands import AddPortCommand

from ovn_ipsec.ovsdb.commands import Commands, SetKeys
from ovn_ipsec.schema.port import CHASSIS_ID, MARK

from ..plan.ports.tunnels import Mark, NewPort, PortPlan, Repair, TunnelPort


def commands_of(
    api: Commands, plan: PortPlan | None, marks: Sequence[Mark]
) -> tuple[BaseCommand, ...]:
    """What a plan and marks are written by, in the order in which it is done.

    Args:
        api: Of the local database.
        plan: Changes of ports; None in adopt mode.
        marks: Changes of marks.
    """
    commands: list[BaseCommand] = []
    if plan is not None:
        commands += (RemovePort(api, port, plan.bridge) for port in plan.delete)
        commands += (RepairPort(api, repair) for repair in plan.repair)
        commands += (AddTunnelPort(api, new, plan.bridge) for new in plan.create)
    for mark in marks:
        text = None if mark.state is None else str(mark.state)
        commands.append(SetKeys(api, "Port", UUID(mark.row), "external_ids", {MARK: text}))
    return tuple(commands)


class AddTunnelPort(AddPortCommand):  # type: ignore[misc]
    """Make a port, its interface, and what is ours beside them."""

    def __init__(self, api: Commands, new: NewPort, bridge: str) -> None:
        super().__init__(api, bridge, new.name, may_exist=False)
        self._new = new

    def run_idl(self, txn: Transaction) -> None:
        """Insert the rows."""
        txn.expected_ifaces = set()  # ovsdbapp notes there what ovs-vsctl would wait for
        super().run_idl(txn)
        port = txn.idl.tables["Port"].rows[self.result]
        port.external_ids = {CHASSIS_ID: self._new.wanted.chassis_id}
        (interface,) = port.interfaces
        interface.type = str(self._new.wanted.type)
        interface.options = dict(self._new.wanted.options)


class RemovePort(BaseCommand):  # type: ignore[misc]
    """Take a port off its bridge, which deletes it, unless its external_ids are others by now."""

    def __init__(self, api: Commands, port: TunnelPort, bridge: str) -> None:
        super().__init__(api)
        self._port, self._bridge = port, bridge

    def run_idl(self, txn: Transaction) -> None:
        """Remove it, if it is still there."""
        port = txn.idl.tables["Port"].rows.get(UUID(self._port.row))
        if port is not None:
            port.verify("external_ids")
            row_by_value(txn.idl, "Bridge", "name", self._bridge).delvalue("ports", port)


class RepairPort(BaseCommand):  # type: ignore[misc]
    """Give a port the interface that it should have, unless somebody changes it meanwhile."""

    def __init__(self, api: Commands, repair: Repair) -> None:
        super().__init__(api)
        self._repair = repair

    def run_idl(self, txn: Transaction) -> None:
        """Write type and options, if the port is still there."""
        repair = self._repair
        port = txn.idl.tables["Port"].rows.get(UUID(repair.port.row))
        if port is None:
            return
        port.verify("interfaces")
        if len(port.interfaces) == 1:
            interface = port.interfaces[0]
            interface.verify("options")
        else:
            interface = txn.insert(txn.idl.tables["Interface"])
            interface.name = port.name
            port.interfaces = [interface]
        interface.type = str(repair.wanted.type)
        interface.options = dict(repair.options)
