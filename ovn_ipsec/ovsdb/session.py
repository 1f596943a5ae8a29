# SPDX-License-Identifier: Apache-2.0
"""Edge: one OVSDB database: its rows as of the last run(), what changed, and writes.

A Session is driven by the daemon's one loop: run() takes in what has arrived, changes() says which
rows that touched, transact() sends a write and lets run() collect its answer. Nothing here decides
or waits. While disconnected, rows() are the last known ones: *unknown* is never *empty*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import ovs.db.idl
import ovs.poller
from ovs.stream import Stream

from ..errors import OvsdbConflict, OvsdbError

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


class _RecordingIdl(ovs.db.idl.Idl):  # type: ignore[misc]
    """An Idl that writes down which rows changed; nothing else happens in its callback."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.recorded: list[RowChange] = []
        super().__init__(*args, **kwargs)

    def notify(self, event: str, row: Row, updates: Row | None = None) -> None:
        if row._table.name not in self.tables:  # noqa: SLF001 - the _Server database has its own
            return
        before = {}
        if updates is not None:
            before = {name: getattr(updates, name) for name in updates._data}  # noqa: SLF001
        self.recorded.append(RowChange(row._table.name, Change(event), row, before))  # noqa: SLF001


def use_tls(private_key: str, certificate: str, ca_cert: str) -> None:
    """Set the files that every ssl: remote of this process uses (the ovs package has one set)."""
    Stream.ssl_set_private_key_file(private_key)
    Stream.ssl_set_certificate_file(certificate)
    Stream.ssl_set_ca_cert_file(ca_cert)


class Session:
    """A monitored database."""

    def __init__(  # noqa: PLR0913 - what a connection has
        self,
        remotes: str,
        schema: dict[str, Any],
        *,
        leader_only: bool = False,
        probe_interval_s: float = 5.0,
        lock: str | None = None,
        only: Mapping[str, list[list[str]]] | None = None,
    ) -> None:
        """Store what open() needs.

        Args:
            remotes: Comma list of OVSDB remotes (ovsdb(7)).
            schema: One of ovn_ipsec.ovsdb.schemas.
            leader_only: Talk to the Raft leader only: needed where the lock or a write must hold.
            probe_interval_s: Seconds between probes of an idle connection; 0 for none.
            lock: OVSDB lock (RFC 7047 section 4.1.8) that every write here asserts.
            only: Conditions by table (ovsdb-server(7), monitor_cond): other rows do not come.
        """
        self.remotes = remotes
        self._schema = schema
        self._leader_only = leader_only
        self._probe_interval_s = probe_interval_s
        self._lock = lock
        self._only = dict(only or {})
        self._idl: _RecordingIdl | None = None
        self._write: ovs.db.idl.Transaction | None = None
        self._failure: OvsdbError | None = None
        self._seqno = 0

    def open(self) -> None:
        """Start connecting; does not wait."""
        helper = ovs.db.idl.SchemaHelper(schema_json=self._schema)
        helper.register_all()
        self._idl = _RecordingIdl(
            self.remotes,
            helper,
            probe_interval=int(self._probe_interval_s * 1000),
            leader_only=self._leader_only,
        )
        for table, conditions in self._only.items():
            # Not by cond_change(): while a change is pending Idl.wait() does not wait.
            state = self._idl.tables[table].condition_state
            state.init(conditions)
            state.request()
            state.ack()
        if self._lock is not None:
            self._idl.set_lock(self._lock)

    def close(self) -> None:
        """Drop the connection."""
        if self._idl is not None:
            self._idl.close()
            self._idl = None

    @property
    def idl(self) -> _RecordingIdl:
        """The IDL of an open session."""
        if self._idl is None:
            raise OvsdbError(f"{self._schema['name']}: session is not open")
        return self._idl

    def run(self) -> bool:
        """Take in what has arrived.

        Returns:
            Whether rows, the lock or the connection may have changed.
        """
        self.idl.run()
        self._settle_write()
        changed = bool(self._seqno != self.idl.change_seqno)
        self._seqno = self.idl.change_seqno
        return changed

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller with everything that run() could act on."""
        self.idl.wait(poller)

    def changes(self) -> list[RowChange]:
        """Rows touched since the last call, oldest first."""
        taken, self.idl.recorded = self.idl.recorded, []
        return taken

    @property
    def loaded(self) -> bool:
        """Whether a first full set of rows has arrived since open()."""
        return bool(self.idl.has_ever_connected())

    @property
    def connected(self) -> bool:
        """Whether the connection is up now."""
        return bool(self.idl._session.is_connected())  # noqa: SLF001 - no public name

    @property
    def has_lock(self) -> bool:
        """Whether this session holds its lock."""
        return bool(self.idl.has_lock)

    def hold_lock(self, wanted: bool) -> None:
        """Ask for the lock given at construction, or give it up; not while a write is busy."""
        name = self._lock if wanted else None
        if self.idl.lock_name != name:
            self.idl.set_lock(name)

    def count(self, table: str) -> int:
        """Number of rows of a table as last known."""
        return len(self.idl.tables[table].rows)

    def rows(self, table: str) -> Iterator[Row]:
        """Rows of a table as last known."""
        return iter(list(self.idl.tables[table].rows.values()))

    def first(self, table: str) -> Row | None:
        """The only row of a one-row table, or None before it exists."""
        return next(self.rows(table), None)

    @property
    def busy(self) -> bool:
        """Whether a write is still on its way; the next one has to wait for it."""
        return self._write is not None

    def transact(self, build: Callable[[ovs.db.idl.Transaction], None]) -> None:
        """Send one transaction; run() collects its answer, failure() tells how it ended.

        Args:
            build: Changes rows; called once, at once.

        Raises:
            OvsdbError: A write is still on its way, or build failed.
        """
        if self.busy:
            raise OvsdbError("a write is still on its way")
        txn = ovs.db.idl.Transaction(self.idl)
        try:
            build(txn)
        except Exception:
            txn.abort()
            raise
        self._write = txn
        self._settle_write()

    def failure(self) -> OvsdbError | None:
        """How the last write failed, once; None when it did not."""
        failure, self._failure = self._failure, None
        return failure

    def _settle_write(self) -> None:
        if self._write is None:
            return
        txn = self._write
        status = txn.commit()
        if status == txn.INCOMPLETE:
            return
        self._write = None
        if status in (txn.SUCCESS, txn.UNCHANGED):
            return
        text = txn.get_error() if status == txn.ERROR else status
        kind = OvsdbConflict if status in (txn.TRY_AGAIN, txn.NOT_LOCKED) else OvsdbError
        self._failure = kind(f"{self._schema['name']}: transaction failed: {text}")
