# SPDX-License-Identifier: Apache-2.0
"""Edge: the IDL of the ovs library, a copy of a database, with what a Session needs of it.

Everything for which the library has no public name is accessed here and nowhere else.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import ovs.db.idl
import ovs.json
import ovs.jsonrpc
import ovs.timeval

from .jsonstream import JsonStream

BACKOFF_MS = (1000, 8000)
"""Between attempts; each session adds up to half of it, so that not all come back at once."""
RUN_MAX, RUNS_MAX = 50, 20
"""Messages that Idl.run() takes at most (ovs/db/idl.py), and how often it is called in a row."""
chance = random.SystemRandom()

Row = Any
"""An ovs.db.idl.Row: its attributes are columns. It never leaves an edge."""


class Change(StrEnum):
    """What happened to a row."""

    CREATED = "create"
    UPDATED = "update"
    DELETED = "delete"


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that came, changed or went; a deleted one keeps its last values."""

    table: str
    change: Change
    row: Row
    before: Mapping[str, Any]
    """Old values of the columns that changed; empty unless UPDATED."""


class _Before(Mapping[str, Any]):
    """The old values of a row, decoded where they are asked for: few ever are."""

    def __init__(self, updates: Row) -> None:
        self._updates = updates

    def __getitem__(self, name: str) -> Any:
        if name not in self._updates._data:  # noqa: SLF001 - as Idl.notify hands it over
            raise KeyError(name)
        return getattr(self._updates, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._updates._data)  # noqa: SLF001

    def __len__(self) -> int:
        return len(self._updates._data)  # noqa: SLF001


class _Session(ovs.jsonrpc.Session):  # type: ignore[misc]
    """A session whose messages are counted, and parsed quickly also without the C extension."""

    received = 0
    """Messages so far."""

    def recv(self) -> Any:
        """Receive one message; each has a parser of its own."""
        slow = ovs.json.PARSER != ovs.json.PARSER_C
        if slow and self.rpc is not None and self.rpc.parser is None:
            self.rpc.parser = JsonStream()
        message = super().recv()
        self.received += message is not None
        return message


class RecordingIdl(ovs.db.idl.Idl):  # type: ignore[misc]
    """An Idl that writes down which rows changed; nothing else happens in its callback."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.recorded: list[RowChange] = []
        super().__init__(*args, **kwargs)
        # The library makes the session itself, and names no class for it.
        self._session.__class__ = _Session

    def run(self) -> bool:
        """Process what has arrived; the library alone stops after RUN_MAX messages."""
        changed = False
        for _ in range(RUNS_MAX):
            before = self._session.received
            changed |= super().run()
            if self._session.received - before < RUN_MAX:
                break
        return changed

    def notify(self, event: str, row: Row, updates: Row | None = None) -> None:
        """Write it down, as Idl.notify is told it."""
        if row._table.name not in self.tables:  # noqa: SLF001 - the _Server database has its own
            return
        before: Mapping[str, Any] = {} if updates is None else _Before(updates)
        self.recorded.append(RowChange(row._table.name, Change(event), row, before))  # noqa: SLF001

    @property
    def is_current(self) -> bool:
        """Whether the rows are those of a server that is connected now, and stays so."""
        is_up = self._session.is_connected() and not self._is_leaving
        return bool(is_up and self.state == self.IDL_S_MONITORING)

    @property
    def _is_leaving(self) -> bool:
        return bool(self._session.reconnect.state.name == "RECONNECT")

    @property
    def remote(self) -> str:
        """The one that is connected, or tried, or comes next."""
        return str(self._session.get_name())

    @property
    def is_on_the_wire(self) -> bool:
        """Whether there is a connection, or an attempt at one."""
        return self._session.rpc is not None or self._session.stream is not None

    def spread(self) -> None:
        """Come back at other times than others do."""
        low, high = (round(one * (1.0 + chance.random() / 2.0)) for one in BACKOFF_MS)
        self._session.reconnect.set_backoff(low, high)

    def stop(self) -> None:
        """Never connect."""
        self._session.reconnect.disable(ovs.timeval.msec())

    def connect_now(self) -> None:
        """Do not wait for the next attempt."""
        self.stop()
        self._session.reconnect.enable(ovs.timeval.msec())

    def start_over(self) -> None:
        """Drop the connection, and believe nothing of what it has brought."""
        self.last_id = str(uuid.UUID(int=0))
        now = ovs.timeval.msec()
        if self.is_on_the_wire:
            self._session.force_reconnect()
        else:
            self._session.reconnect.connect_failed(now, 0)

    def unfit(self) -> str:
        """Why the connected server will not do (Idl.__check_server_db keeps it to itself)."""
        servers = (self.server_tables or {}).get(self._server_db_table)
        if servers is None or not self._is_leaving:
            return ""
        found = [row for row in servers.rows.values() if row.name == self._db.name]
        if not found:
            return f"the server has no database {self._db.name}"
        if found[0].model != "standalone" and not found[0].connected:
            return "the server is not connected to its cluster"
        return "the server is not the leader" if self.leader_only else "the server is behind"
