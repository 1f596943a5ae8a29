# SPDX-License-Identifier: Apache-2.0
"""Edge: a logical switch in NB with two ports, for the length of a measurement.

Nothing else is on that switch, so nobody else reaches the two ports, and each may have only its
own addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ovs.db.idl
from ovsdbapp.backend.ovs_idl.command import BaseCommand

from ...model.chassis import ChassisName
from ...ovsdb.commands import Commands, SetKeys
from ...ovsdb.session import Row
from ...ovsdb.waiting import wait_until
from ...schema.nb_global import EVALUATED_BY

SWITCH, PORT = "Logical_Switch", "Logical_Switch_Port"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One of the two logical ports."""

    port: str
    """Its name."""
    mac: str
    ip: str
    prefix: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The switch for two chassis; names and addresses follow from theirs."""

    one: ChassisName
    other: ChassisName

    @property
    def name(self) -> str:
        """Of the switch; names of chassis have no slashes."""
        return f"ovn-ipsec-evaluate/{self.one}/{self.other}"

    @property
    def near(self) -> Place:
        """That of the first chassis."""
        return Place(port=f"{self.name}/1", mac="02:6f:76:6e:65:01", ip="169.254.77.1")

    @property
    def far(self) -> Place:
        """That of the second."""
        return Place(port=f"{self.name}/2", mac="02:6f:76:6e:65:02", ip="169.254.77.2")


class _Make(BaseCommand):  # type: ignore[misc]
    """Make the switch with its ports."""

    def __init__(self, api: Commands, network: Network) -> None:
        super().__init__(api)
        self._network = network

    def run_idl(self, txn: ovs.db.idl.Transaction) -> None:
        txn.add_comment("ovn-ipsec: evaluate")
        switch = txn.insert(self.api.tables[SWITCH])
        switch.name = self._network.name
        ports = []
        for place in (self._network.near, self._network.far):
            port = txn.insert(self.api.tables[PORT])
            port.name = place.port
            port.addresses = port.port_security = [f"{place.mac} {place.ip}"]
            ports.append(port)
        switch.ports = ports


class _Remove(BaseCommand):  # type: ignore[misc]
    """Remove the switch; its ports go with it."""

    def __init__(self, api: Commands, network: Network) -> None:
        super().__init__(api)
        self._network = network

    def run_idl(self, txn: ovs.db.idl.Transaction) -> None:
        txn.add_comment("ovn-ipsec: evaluate")
        for row in find(self.api, self._network):
            row.delete()


def find(nb: Commands, network: Network) -> list[Row]:
    """The rows of the switch: names need not be unique."""
    return [row for row in nb.rows(SWITCH) if row.name == network.name]


def make(nb: Commands, network: Network) -> None:
    """Make the switch with its ports.

    Raises:
        OvsdbError: NB refuses or does not answer.
    """
    nb.run(_Make(nb, network))


def remove(nb: Commands, network: Network) -> None:
    """Remove what is there of the switch.

    Raises:
        OvsdbError: NB refuses or does not answer.
    """
    if find(nb, network):
        nb.run(_Remove(nb, network))


def note_rule(nb: Commands, network: Network, key: str | None) -> None:
    """Write down which key of NB_Global.options is ours while the switch is there; None: none.

    Raises:
        OvsdbError: NB refuses or does not answer.
    """
    for row in find(nb, network):
        nb.run(SetKeys(nb, SWITCH, row.uuid, "external_ids", {EVALUATED_BY: key}))


def noted_rule(nb: Commands, network: Network) -> str:
    """What was written down; empty: nothing."""
    found = (row.external_ids.get(EVALUATED_BY, "") for row in find(nb, network))
    return next((str(key) for key in found if key), "")


def wait_up(
    nb: Commands, network: Network, limit_s: float, say: Callable[[list[str]], None]
) -> list[str]:
    """Wait until ovn-controller has bound both ports.

    Args:
        nb: NB.
        network: The switch.
        limit_s: How long.
        say: Told at once which chassis have not bound theirs, and when that changes.

    Returns:
        Those that have not in time.
    """
    told: list[str] = []

    def down() -> list[str]:
        up = {row.name for row in nb.rows(PORT) if list(row.up) == [True]}
        ends = ((network.near, network.one), (network.far, network.other))
        return [str(name) for place, name in ends if place.port not in up]

    def are_up() -> bool:
        missing = down()
        if missing != told:
            told[:] = missing
            say(missing)
        return not missing

    wait_until(nb.session, are_up, limit_s)
    return down()
