# SPDX-License-Identifier: Apache-2.0
"""Edge: the rows behind `network:` selectors (Port_Binding and others) to Topology.

A southbound has many times more ports than chassis, so these rows are monitored only while a rule
selects a network, over a separate connection that is opened and closed accordingly. So a problem
with it (a server that lacks a column, a slow dump) does not affect policy and rollout.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeVar
from uuid import UUID

import ovs.poller

from ovn_ipsec.ovsdb.rows import raw_binding
from ovn_ipsec.ovsdb.session import Change, Row, RowChange, Session
from ovn_ipsec.policy.bindings import asked_for, parse_binding, parse_datapath
from ovn_ipsec.policy.topology import Datapath, Topology
from ovn_ipsec.schema.nb_global import NETWORK_MODE

_CHASSIS, _DATAPATH, _BINDING = "Chassis", "Datapath_Binding", "Port_Binding"
_SWITCH = "Logical_Switch"

_Key = TypeVar("_Key")
_Item = TypeVar("_Item")


class Networks:
    """Logical networks of the southbound database, while they are needed."""

    def __init__(self, session: Session) -> None:
        """Store the session, of SOUTHBOUND_NETWORKS; it is opened, run and closed here."""
        self._session = session
        self._wanted = self._known = False
        self._rows = _Rows(session)

    def want(self, on: bool) -> None:
        """Start or stop monitoring, without waiting. Stopping forgets what was known."""
        if on == self._wanted:
            return
        self._wanted, self._known, self._rows = on, False, _Rows(self._session)
        if on:
            self._session.open()
        else:
            self._session.close()

    def receive(self) -> bool:
        """Process what has arrived.

        Returns:
            Whether topology() or known() may have changed.
        """
        if not self._wanted:
            return False
        self._session.receive()
        changes = self._session.changes()
        self._rows.take_in(changes)
        arrived = self._session.loaded and not self._known
        self._known |= arrived
        return bool(changes) or arrived

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller with everything that receive() could act on."""
        if self._wanted:
            self._session.wait(poller)

    def known(self) -> bool:
        """Whether the rows have arrived since want(True); a lost connection keeps them."""
        return self._known

    def topology(self) -> Topology:
        """What the rows say; empty until known(), which is not the same as without networks."""
        return self._rows.topology


class Switches:
    """What the northbound says of each network: Logical_Switch.other_config:ovn-ipsec."""

    def __init__(self, session: Session) -> None:
        """Store the session, of NORTHBOUND; its owner opens, runs and closes it."""
        self._session = session
        self._name_of: dict[UUID, str] = {}
        self._named: defaultdict[str, dict[UUID, str | None]] = defaultdict(dict)
        self._texts: dict[str, str | None] = {}
        self._said: Mapping[str, str | None] = MappingProxyType({})

    def take_in(self, changes: Iterable[RowChange]) -> None:
        """Process all changes that the session has reported since the last time, in any table."""
        for change in changes:
            if change.table == _SWITCH:
                self._put(change.row.uuid, _present(change))
        for row, found in _unseen(self._name_of, _SWITCH, self._session):
            self._put(row, found)
        if self._said != self._texts:
            self._said = MappingProxyType(dict(self._texts))

    def switches(self) -> Mapping[str, str | None]:
        """Texts of the key by name of the switch, unchecked; None if it is not set.

        Switches with the same name are one network: what any of them says applies to all. If they
        contradict each other, all their texts are here, comma-separated, which no parser accepts.
        The same object is returned until something changes.
        """
        return self._said

    def _put(self, row: UUID, found: Row | None) -> None:
        names = set()
        if row in self._name_of:
            old = self._name_of.pop(row)
            del self._named[old][row]
            names.add(old)
        if found is not None:
            names.add(found.name)
            self._name_of[row] = found.name
            self._named[found.name][row] = found.other_config.get(NETWORK_MODE)
        for name in names:
            self._join(name)

    def _join(self, name: str) -> None:
        if not self._named[name]:
            del self._named[name], self._texts[name]
            return
        texts = {text for text in self._named[name].values() if text is not None}
        self._texts[name] = ", ".join(sorted(texts)) if texts else None


class _Rows:
    """Rows as last seen, and which bindings depend on which of them."""

    def __init__(self, session: Session) -> None:
        self.topology = Topology()
        self._session = session
        self._chassis: dict[UUID, tuple[str, str]] = {}
        """By Chassis row, its hostname and name."""
        self._datapaths: set[UUID] = set()
        self._bindings: dict[UUID, frozenset[Hashable]] = {}
        """By binding row, what it depends on: texts that request a chassis, and HA rows."""
        self._names: defaultdict[str, set[str]] = defaultdict(set)
        """By hostname, the names of chassis."""
        self._dependents: defaultdict[Hashable, set[UUID]] = defaultdict(set)

    def take_in(self, changes: Iterable[RowChange]) -> None:
        touched: set[UUID] = set()
        for change in changes:
            row, found = change.row.uuid, _present(change)
            if change.table == _BINDING:
                touched.add(row)
            elif change.table == _DATAPATH:
                self._put_datapath(row, found)
            elif change.table == _CHASSIS:
                touched |= self._put_chassis(row, found)
            else:
                touched |= self._dependents.get(row, set())
        for row, found in _unseen(self._chassis, _CHASSIS, self._session):
            touched |= self._put_chassis(row, found)
        for row, found in _unseen(self._datapaths, _DATAPATH, self._session):
            self._put_datapath(row, found)
        rows = self._session.idl.tables[_BINDING].rows
        for row in touched:
            self._put_binding(row, rows.get(row))
        for row, found in _unseen(self._bindings, _BINDING, self._session):
            self._put_binding(row, found)

    def _put_datapath(self, row: UUID, found: Row | None) -> None:
        self._datapaths.discard(row)
        if found is not None:
            self._datapaths.add(row)
        self.topology.put_datapath(row, _datapath(found))

    def _put_chassis(self, row: UUID, found: Row | None) -> set[UUID]:
        """Process a chassis; returns the bindings that request one with its hostname."""
        old, new = self._chassis.pop(row, None), None
        if old is not None:
            _discard(self._names, *old)
        if found is not None:
            new = self._chassis[row] = (found.hostname, found.name)
            self._names[found.hostname].add(found.name)
        if old == new:
            return set()
        hostnames = {pair[0] for pair in (old, new) if pair is not None}
        return set().union(*(self._dependents.get(name, set()) for name in hostnames))

    def _put_binding(self, row: UUID, found: Row | None) -> None:
        for key in self._bindings.pop(row, frozenset()):
            _discard(self._dependents, key, row)
        if found is None:
            self.topology.put_binding(row, None)
            return
        self._bindings[row] = frozenset([*asked_for(found.options), *_gateway_rows(found)])
        for key in self._bindings[row]:
            self._dependents[key].add(row)
        self.topology.put_binding(row, parse_binding(raw_binding(found), self._names))


def _datapath(row: Row | None) -> Datapath | None:
    return None if row is None else parse_datapath(row.tunnel_key, row.external_ids)


def _gateway_rows(row: Row) -> Iterator[UUID]:
    for group in row.ha_chassis_group:
        yield group.uuid
        yield from (member.uuid for member in group.ha_chassis)


def _present(change: RowChange) -> Row | None:
    return None if change.change is Change.DELETED else change.row


def _unseen(held: Collection[UUID], table: str, session: Session) -> list[tuple[UUID, Row | None]]:
    """Rows that came or went unreported, as they are now.

    A full reload reports the rows that came, not those that went; a row with nothing but default
    values arrives without a report; and rows from before anyone listened are no change.
    """
    rows = session.idl.tables[table].rows
    if len(held) == len(rows):
        return []
    return [(row, rows.get(row)) for row in set(held) ^ set(rows)]


def _discard(index: defaultdict[_Key, set[_Item]], key: _Key, item: _Item) -> None:
    index[key].discard(item)
    if not index[key]:
        del index[key]
