# SPDX-License-Identifier: Apache-2.0
"""Edge: ovsdbapp's commands on the IDL of an open Session, without a thread.

A command decides in its ``run_idl()``, on the rows at that moment. ``Commands.run()`` commits and
waits; after a conflict the command decides again. A daemon's loop never waits: it calls
``run_idl()`` with the transaction of ``Session.transact()``.

ovsdbapp's own connection is not used: it runs in a thread, and reaches its server through streams
that do not fail as ours do. Its ``db_set`` writes a whole map back, which is acceptable only for
rows that nobody else writes; single keys of any other row are changed with ``SetKeys``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any
from uuid import UUID

import ovs.db.idl
from ovsdbapp.api import API
from ovsdbapp.api import Transaction as AnyTransaction
from ovsdbapp.backend.ovs_idl import Backend
from ovsdbapp.backend.ovs_idl.command import BaseCommand
from tenacity import Retrying, retry_if_exception_type, stop_after_delay

from ..errors import OvsdbConflict, OvsdbError
from .session import Row, Session
from .waiting import PATIENCE_S, expect


class Commands(Backend, API):  # type: ignore[misc]
    """The commands of one database, as ovsdbapp makes them: db_list_rows(), db_create() and so on.

    Nothing here connects: the session does.
    """

    ovsdb_connection = None
    """Of this object. In ovsdbapp all objects of one class share the first connection."""

    def __init__(self, session: Session) -> None:
        super().__init__(_Connection(session), start=False, auto_index=False)
        self.session = session

    def create_transaction(self, *_flags: object, **_options: object) -> _Transaction:
        """Begin a transaction; one that fails raises and logs nothing, whatever is asked for."""
        return _Transaction(self.session)

    def run(self, command: BaseCommand) -> Any:
        """Run a command by itself, to its end.

        Returns:
            Its result.

        Raises:
            OvsdbConflict: Others change the same rows all the time.
            OvsdbError: The database refused or did not answer.
        """
        return command.execute(check_error=True, log_errors=False)

    def rows(self, table: str) -> list[Row]:
        """All rows of a table."""
        found: list[Row] = self.run(self.db_list_rows(table))
        return found

    def first(self, table: str) -> Row | None:
        """The only row of a one-row table, or None before it exists."""
        return next(iter(self.rows(table)), None)


class SetKeys(BaseCommand):  # type: ignore[misc]
    """Change keys of a map, whatever others do to its other keys."""

    def __init__(
        self, api: Commands, table: str, row: UUID, column: str, changes: Mapping[str, str | None]
    ) -> None:
        """Store what is to be changed.

        Args:
            api: Of the database.
            table: The table.
            row: The row; one that has gone meanwhile is passed over.
            column: The map.
            changes: Key to text; None removes it.
        """
        super().__init__(api)
        self._table, self._row, self._column, self._changes = table, row, column, changes

    def run_idl(self, txn: ovs.db.idl.Transaction) -> None:
        """Change them."""
        row = txn.idl.tables[self._table].rows.get(self._row)
        if row is None:
            return
        for key, text in self._changes.items():
            if text is None:
                row.delkey(self._column, key)
            else:
                row.setkey(self._column, key, text)


class _Connection:
    """What ovsdbapp asks of a connection: the IDL, and a lock, which one thread does not need."""

    lock = nullcontext()

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def idl(self) -> Any:
        return self._session.idl


class _Transaction(AnyTransaction):  # type: ignore[misc]
    """Commands that are written together."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._commands: list[BaseCommand] = []
        self._txn: ovs.db.idl.Transaction | None = None
        self._conflict: OvsdbConflict | None = None
        """Why the last attempt wrote nothing."""

    def add(self, command: BaseCommand) -> BaseCommand:
        """Add a command; commit() runs it."""
        self._commands.append(command)
        return command

    def commit(self) -> list[Any]:
        """Write, and after a conflict look and decide anew, until it is too late.

        Returns:
            The results of the commands.
        """
        attempts = Retrying(
            retry=retry_if_exception_type(OvsdbConflict),
            stop=stop_after_delay(PATIENCE_S),
            reraise=True,
        )
        attempts(self._attempt)
        for command in self._commands:
            command.post_commit(self._txn)
        return [command.result for command in self._commands]

    def _attempt(self) -> None:
        session = self._session
        try:
            expect(session, lambda: session.can_write)  # which paces: later after each conflict
        except OvsdbError:
            if self._conflict is not None:
                raise self._conflict from None
            raise
        session.transact(self._build)
        expect(session, lambda: not session.busy)
        failure = session.failure()
        if isinstance(failure, OvsdbConflict) and not session.connected:
            # It may have been written, so that a second one could be one too many.
            text = "the connection was lost before the answer: look whether it was written"
            raise OvsdbError(f"{session.remotes}: {text}")
        if isinstance(failure, OvsdbConflict):
            self._conflict = failure
        if failure is not None:
            raise failure

    def _build(self, txn: ovs.db.idl.Transaction) -> None:
        self._txn = txn
        for command in self._commands:
            command.run_idl(txn)
