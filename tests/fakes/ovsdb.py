# SPDX-License-Identifier: Apache-2.0
"""An OVSDB server in memory, and a Session of it with the manners of the real one.

FakeDatabase is the server: transactions all or nothing, `wait` operations, references, garbage
collection of rows of tables that are no root, unique indexes, locks. FakeSession has the surface of
``ovn_ipsec.ovsdb.session.Session``, and what the IDL of the ovs package does behind it: a replica
that follows a moment later, a reload of all rows as other objects after each reconnection, writes
that are seen only when the server sends them back, and a write whose fate is not known when the
connection is lost. ``tests/contracts/session.py`` holds both to the same promises.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import Any
from uuid import UUID

from ovn_ipsec.errors import OvsdbConflict, OvsdbError, OvsdbRefused
from ovn_ipsec.ovsdb.session import CONFLICT, REFUSED, Change, RowChange

from .timeline import Timeline

Values = dict[str, Any]
"""A row as the server has it; never changed in place."""
Tables = dict[str, dict[UUID, Values]]
Update = list[tuple[str, UUID, Values | None, Values | None]]
"""Table, row, what it was and what it is."""

INDEXES: Mapping[str, tuple[str, ...]] = {
    "Chassis": ("name",),
    "Chassis_Private": ("name",),
    "Encap": ("type", "ip"),
}
"""Columns that no two rows have alike (ovn-sb.ovsschema)."""


@dataclass(frozen=True, slots=True)
class Column:
    """What a column holds."""

    kind: str
    """``map``, ``set`` or ``one``."""
    default: Any
    ref: str = ""
    """Table that it refers to: strongly where that is no root, as in the real schemas."""

    @classmethod
    def of(cls, declared: Mapping[str, Any]) -> Column:
        """Read a declaration of an ovsschema."""
        kind = declared["type"]
        if isinstance(kind, str):
            default = {"string": "", "boolean": False, "integer": 0}.get(kind, UUID(int=0))
            return cls("one", default)
        if "value" in kind:
            return cls("map", {})
        key = kind["key"]
        if isinstance(key, str):
            return cls("set", ())
        return cls("set", (), key["refTable"])


class Schema:
    """Columns by table."""

    def __init__(self, *declared: Mapping[str, Any]) -> None:
        self.name = declared[0]["name"]
        self.columns: dict[str, dict[str, Column]] = {}
        self.roots: set[str] = set()
        for one in declared:
            for table, content in one["tables"].items():
                held = self.columns.setdefault(table, {})
                held.update({name: Column.of(said) for name, said in content["columns"].items()})
                if content["isRoot"]:
                    self.roots.add(table)


def _plain(column: Column, value: Any) -> Any:
    """What the server keeps of what a client gives."""
    if column.kind == "map":
        return {key: str(text) for key, text in value.items()}
    if column.kind == "set":
        items = [value] if isinstance(value, (str, int, FakeRow)) else list(value)
        return tuple(sorted({_atom(item) for item in items}))
    return _atom(value)


def _atom(value: Any) -> Any:
    if isinstance(value, FakeRow):
        return value.uuid
    return str(value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of a transaction (RFC 7047 section 5.2)."""

    op: str
    table: str
    row: UUID
    values: Values = field(default_factory=dict)
    removes: Mapping[str, frozenset[Any]] = field(default_factory=dict)
    inserts: Mapping[str, Any] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818 - what the server says
    """The server takes nothing of a transaction."""

    def __init__(self, text: str, *, again: bool = False) -> None:
        self.again = again
        super().__init__(text)


class FakeDatabase:
    """One database, and who is connected to it."""

    def __init__(
        self, timeline: Timeline, *schemas: Mapping[str, Any], random: Random | None = None
    ) -> None:
        self.timeline = timeline
        self.schema = Schema(*schemas)
        self.random = random or Random(0)
        self.tables: Tables = {table: {} for table in self.schema.columns}
        self.up = True
        self.sessions: list[FakeSession] = []
        """Those that follow it now."""
        self.locks: dict[str, list[FakeSession]] = {}
        self.refuses = 0
        """How many of the next transactions fail, with an error of the server."""
        self.watch: list[Callable[[Update], None]] = []
        """Called after each change with what it was."""
        self.by: object = None
        """Whose change it is that is told of."""
        self.commits = 0
        self.writes: Counter[str] = Counter()
        """Transactions by who has sent them."""

    # --- what a test does to it ------------------------------------------------------------------

    def insert(self, table: str, **values: Any) -> UUID:
        """Write a row; a reference is the UUID of another row."""
        row = UUID(int=self.random.getrandbits(128))
        self.transact([Op("insert", table, row, values)])
        return row

    def update(self, table: str, row: UUID, **values: Any) -> None:
        """Change columns of a row."""
        self.transact([Op("update", table, row, values)])

    def set_keys(self, table: str, row: UUID, column: str, **keys: str | None) -> None:
        """Change keys of a map; an underscore stands for a hyphen, None takes a key away."""
        held = dict(self.tables[table][row][column])
        for name, text in keys.items():
            key = name.replace("_", "-")
            held.pop(key, None)
            if text is not None:
                held[key] = text
        self.update(table, row, **{column: held})

    def delete(self, table: str, row: UUID) -> None:
        """Delete a row."""
        self.transact([Op("delete", table, row)])

    def find(self, table: str, **values: Any) -> UUID | None:
        """Give the row with these values."""
        for row, held in self.tables[table].items():
            if all(held[name] == value for name, value in values.items()):
                return row
        return None

    def only(self, table: str) -> Values | None:
        """Give the only row of a table."""
        return next(iter(self.tables[table].values()), None)

    def snapshot(self) -> Tables:
        """Keep a backup."""
        return {table: dict(rows) for table, rows in self.tables.items()}

    def restore(self, tables: Tables | None = None) -> None:
        """Start the server with another content; nothing: empty."""
        sessions = list(self.sessions)
        before, self.by = self.tables, None
        found = tables or {}
        self.tables = {table: dict(found.get(table, {})) for table in self.schema.columns}
        for session in sessions:
            session.cut()
        self._tell_watchers(_difference(before, self.tables))

    def stop(self) -> None:
        """Go away: connections end, and none can be made."""
        self.up = False
        for session in list(self.sessions):
            session.cut()

    def start(self) -> None:
        """Come back with what there was."""
        self.up = True

    # --- what a connection does ------------------------------------------------------------------

    def transact(self, ops: Iterable[Op], lock: str | None = None, by: object = None) -> None:
        """Run a transaction.

        Raises:
            Refused: Nothing of it happened.
        """
        if self.refuses and by is not None:
            self.refuses -= 1
            raise Refused("I/O error: made to fail")
        if lock is not None and self.locks.get(lock, [None])[0] is not by:
            raise Refused("not owner", again=True)
        before = self.tables
        staged: Tables = dict(before)
        try:
            touched = self._apply(staged, list(ops))
            touched |= self._check(staged, touched)
        except Refused:
            self.tables = before
            raise
        update = [
            (table, row, before[table].get(row), staged[table].get(row))
            for table, row in sorted(touched)
            if before[table].get(row) != staged[table].get(row)
        ]
        self.tables, self.by = staged, by
        self.commits += 1
        if isinstance(by, FakeSession):
            self.writes[by.owner] += 1
        if update:
            for session in self.sessions:
                session.send(("update", update))
            self._tell_watchers(update)

    def _tell_watchers(self, update: Update) -> None:
        for watch in self.watch:
            watch(update)

    def _apply(self, staged: Tables, ops: list[Op]) -> set[tuple[str, UUID]]:
        for op in ops:
            held = staged[op.table].get(op.row)
            if op.op == "wait" and (
                held is None or any(held[name] != value for name, value in op.values.items())
            ):
                raise Refused("timed out", again=True)
        touched: set[tuple[str, UUID]] = set()
        for op in ops:
            if op.op == "wait":
                continue
            columns, rows = self.schema.columns[op.table], staged[op.table]
            held = rows.get(op.row)
            if held is None and op.op != "insert":
                continue
            rows = staged[op.table] = dict(rows)
            touched.add((op.table, op.row))
            if op.op == "delete":
                del rows[op.row]
                continue
            values = dict(held or {name: column.default for name, column in columns.items()})
            values.update({n: _plain(columns[n], value) for n, value in op.values.items()})
            _mutate(columns, values, op)
            rows[op.row] = values
        return touched

    def _check(self, staged: Tables, touched: set[tuple[str, UUID]]) -> set[tuple[str, UUID]]:
        """Keep references and indexes; returns what was garbage."""
        collected: set[tuple[str, UUID]] = set()
        refs = [
            (table, name, column)
            for table, columns in self.schema.columns.items()
            for name, column in columns.items()
            if column.ref in self.schema.columns
        ]
        for table in {column.ref for _, _, column in refs} - self.schema.roots:
            used = {
                row
                for other, name, column in refs
                if column.ref == table
                for values in staged[other].values()
                for row in values[name]
            }
            for row in staged[table].keys() - used:
                staged[table] = {r: v for r, v in staged[table].items() if r != row}
                collected.add((table, row))
        for table, name, column in refs:
            for row, values in list(staged[table].items()):
                kept = tuple(one for one in values[name] if one in staged[column.ref])
                if kept == values[name]:
                    continue
                if column.ref not in self.schema.roots:
                    raise Refused(f"referential integrity violation: {table} {name}")
                staged[table] = {**staged[table], row: {**values, name: kept}}
                collected.add((table, row))
        for table in {table for table, _ in touched} & INDEXES.keys():
            index = INDEXES[table]
            keys = Counter(tuple(v[name] for name in index) for v in staged[table].values())
            twice = [key for key, count in keys.items() if count > 1]
            if twice:
                raise Refused(f"constraint violation: {table} {index} {twice[0]}")
        return collected

    def attach(self, session: FakeSession) -> None:
        """Let a session follow: it gets all rows, and changes from now on."""
        self.sessions.append(session)
        session.send(("snapshot", self.snapshot()))

    def detach(self, session: FakeSession) -> None:
        """Forget a session, and take its locks away."""
        if session in self.sessions:
            self.sessions.remove(session)
        for name in sorted(self.locks):
            self.unlock(name, session)

    def lock(self, name: str, session: FakeSession) -> None:
        """Give a lock, or put the session in the queue."""
        queue = self.locks.setdefault(name, [])
        if session not in queue:
            queue.append(session)
        session.send(("lock", (name, queue[0] is session)))

    def unlock(self, name: str, session: FakeSession) -> None:
        """Give a lock to the next."""
        queue = self.locks.get(name, [])
        if session not in queue:
            return
        held = queue[0] is session
        queue.remove(session)
        if held and queue:
            queue[0].send(("lock", (name, True)))


def _mutate(columns: Mapping[str, Column], values: Values, op: Op) -> None:
    for name in sorted(op.removes.keys() | op.inserts.keys()):
        removes = op.removes.get(name, frozenset())
        if columns[name].kind == "map":
            kept = {key: text for key, text in values[name].items() if key not in removes}
            added = {key: str(text) for key, text in op.inserts.get(name, {}).items()}
            values[name] = {**kept, **added}
        else:
            items = {item for item in values[name] if item not in removes}
            values[name] = _plain(columns[name], items | set(op.inserts.get(name, ())))


def _difference(before: Tables, after: Tables) -> Update:
    return [
        (table, row, before[table].get(row), after[table].get(row))
        for table in after
        for row in sorted(before[table].keys() | after[table].keys())
        if before[table].get(row) != after[table].get(row)
    ]


class FakeRow:
    """A row of the replica: its attributes are columns (see ovs.db.idl.Row)."""

    __slots__ = ("_changes", "_data", "_idl", "_inserts", "_prereqs", "_removes", "_table", "uuid")

    def __init__(self, idl: FakeIdl, table: str, uuid: UUID, data: Values | None) -> None:
        self._idl, self._table, self.uuid, self._data = idl, table, uuid, data
        self._forget()

    def _forget(self) -> None:
        self._changes: Values = {}
        self._removes: dict[str, set[Any]] = {}
        self._inserts: dict[str, Any] = {}
        self._prereqs: set[str] = set()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FakeRow) and self.uuid == other.uuid

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __getattr__(self, name: str) -> Any:
        column = self._idl.columns[self._table].get(name)
        if column is None:
            raise AttributeError(f"{self._table} has no column {name}")
        if name in self._changes:
            value = self._changes[name]
        elif self._data is None:
            raise AttributeError(f"{self._table} has no {name} yet")
        else:
            value = self._data[name]
        removes, inserts = self._removes.get(name), self._inserts.get(name)
        if column.kind == "map":
            held = {k: t for k, t in value.items() if not removes or k not in removes}
            return {**held, **inserts} if inserts else held
        if column.kind == "set":
            items = [item for item in value if not removes or item not in removes]
            items += [item for item in inserts or () if item not in items]
            if not column.ref:
                return items
            rows = self._idl.tables[column.ref].rows
            return [rows[item] for item in items if item in rows]
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FakeRow.__slots__:
            object.__setattr__(self, name, value)
            return
        column = self._idl.columns[self._table][name]
        self._idl.touch(self)
        self._removes.pop(name, None)
        self._inserts.pop(name, None)
        self._changes[name] = _plain(column, value)

    def verify(self, name: str) -> None:
        """Let the write fail if this column has changed at the server meanwhile."""
        self._idl.touch(self)
        if self._data is not None and name not in self._changes:
            self._prereqs.add(name)

    def setkey(self, name: str, key: str, value: str) -> None:
        """Set one key of a map, whatever others do to other keys."""
        self._idl.touch(self)
        self._removes.setdefault(name, set()).add(key)
        self._inserts.setdefault(name, {})[key] = value

    def delkey(self, name: str, key: str) -> None:
        """Take one key out of a map."""
        self._idl.touch(self)
        self._removes.setdefault(name, set()).add(key)

    def addvalue(self, name: str, value: Any) -> None:
        """Put one value into a set."""
        self._idl.touch(self)
        item = value.uuid if isinstance(value, FakeRow) else value
        self._inserts.setdefault(name, set()).add(item)

    def delvalue(self, name: str, value: Any) -> None:
        """Take one value out of a set."""
        self._idl.touch(self)
        item = value.uuid if isinstance(value, FakeRow) else value
        self._removes.setdefault(name, set()).add(item)

    def delete(self) -> None:
        """Delete the row; of a table that is no root the server decides."""
        self._idl.touch(self)
        self._idl.doom(self)

    def operations(self, *, doomed: bool, root: bool) -> Iterator[Op]:
        """What was done to it, for the server."""
        if self._prereqs:
            assert self._data is not None
            found = {name: self._data[name] for name in sorted(self._prereqs)}
            yield Op("wait", self._table, self.uuid, found)
        if doomed:
            if root:
                yield Op("delete", self._table, self.uuid)
            return
        op = "insert" if self._data is None else "update"
        if self._data is None or self._changes or self._removes or self._inserts:
            removes = {name: frozenset(keys) for name, keys in self._removes.items()}
            inserts = {n: v.copy() for n, v in self._inserts.items()}
            yield Op(op, self._table, self.uuid, dict(self._changes), removes, inserts)


class FakeRows(dict[UUID, FakeRow]):
    """Rows of a table by uuid (see ovs.db.custom_index.IndexedRows)."""

    indexes: Mapping[str, object] = MappingProxyType({})
    """There are none, so who looks something up looks at every row."""


@dataclass(slots=True)
class FakeTable:
    """One table of the replica."""

    name: str
    rows: FakeRows = field(default_factory=FakeRows)


class FakeIdl:
    """The replica (see ovs.db.idl.Idl)."""

    def __init__(self, schema: Schema) -> None:
        self.columns = schema.columns
        self.roots = schema.roots
        self.tables = {name: FakeTable(name) for name in schema.columns}
        self._txn: FakeTransaction | None = None

    def touch(self, row: FakeRow) -> None:
        """Take note that the write under way changes a row."""
        assert self._txn is not None, "a row was changed outside a transaction"
        self._txn.touched[row.uuid] = row

    def doom(self, row: FakeRow) -> None:
        """Take note that the write under way deletes a row."""
        assert self._txn is not None
        self._txn.doomed.add(row.uuid)

    def begin(self, random: Random) -> FakeTransaction:
        """Start a write."""
        assert self._txn is None
        self._txn = FakeTransaction(self, random)
        return self._txn

    def end(self, txn: FakeTransaction) -> list[Op]:
        """Give what a write asks for, and undo it here: the server tells of it in time."""
        self._txn = None
        waits: list[Op] = []
        ops: list[Op] = []
        for row in txn.touched.values():
            doomed = row.uuid in txn.doomed
            for op in row.operations(doomed=doomed, root=row._table in self.roots):
                (waits if op.op == "wait" else ops).append(op)
            row._forget()
            if row._data is None:
                self.tables[row._table].rows.pop(row.uuid, None)
        return [*waits, *ops] if ops else []


class FakeTransaction:
    """A write that is being made (see ovs.db.idl.Transaction)."""

    def __init__(self, idl: FakeIdl, random: Random) -> None:
        self.idl = idl
        self.touched: dict[UUID, FakeRow] = {}
        self.doomed: set[UUID] = set()
        self.comments: list[str] = []
        self._random = random

    def add_comment(self, text: str) -> None:
        """Say what it is for."""
        self.comments.append(text)

    def insert(self, table: FakeTable, new_uuid: UUID | None = None) -> FakeRow:
        """Make a row."""
        uuid = new_uuid or UUID(int=self._random.getrandbits(128))
        row = FakeRow(self.idl, table.name, uuid, None)
        table.rows[uuid] = row
        self.touched[uuid] = row
        return row


RTT_S = 0.004
BACKOFF_S = 1.0
"""Between two attempts to connect, doubled up to BACKOFF_MAX_S (ovs reconnect.py)."""
BACKOFF_MAX_S = 8.0


class FakeSession:
    """See ovn_ipsec.ovsdb.session.Session."""

    def __init__(
        self,
        remotes: str,
        schema: Mapping[str, Any],
        *,
        find: Callable[[str], FakeDatabase | None],
        timeline: Timeline,
        lock: str | None = None,
        only: Mapping[str, list[list[str]]] | None = None,
        owner: str = "",
        wake: Callable[[], None] = lambda: None,
        fd: int = -1,
    ) -> None:
        """Store what open() needs.

        Args:
            remotes: As of the real one.
            schema: Part of the database that is followed.
            find: Who answers at these remotes now.
            timeline: When things happen.
            lock: As of the real one.
            only: As of the real one.
            owner: Whose it is, for the database's books.
            wake: Called when run() has something to do.
            fd: What stands for its descriptor where somebody waits for it.
        """
        self.remotes = remotes
        self.schema = Schema(schema)
        self.owner = owner
        self.recorded: list[RowChange] = []
        self.delay_s = RTT_S / 2
        """One way to the server."""
        self.probe_s = 5.0
        """A connection that is silent for twice as long is given up."""
        self.wake, self.fd = wake, fd
        self._find, self._timeline = find, timeline
        self._lock_wanted = self._lock_name = lock
        self._only = {
            table: frozenset(value for _, _, value in conditions)
            for table, conditions in (only or {}).items()
        }
        self._idl: FakeIdl | None = None
        self._database: FakeDatabase | None = None
        self._life = 0
        """Of the connection: what was sent over another one never arrives."""
        self._held: list[tuple[str, Any]] | None = None
        """What has arrived while it is partitioned; None: it is not."""
        self._inbox: deque[tuple[str, Any]] = deque()
        self._free_at = self._silent_until = 0.0
        self._back_off_s = BACKOFF_S
        self._monitoring = self._loaded = self._changed = self._locked = False
        self._was_connected = self._waits = False
        self._refused, self._conflict = REFUSED, CONFLICT
        self.retry_at = float("-inf")
        """See Session."""
        self._write: str = ""
        """busy, or how the last write ended."""
        self._failure: OvsdbError | None = None

    # --- what the daemons use --------------------------------------------------------------------

    def open(self) -> None:
        """Start connecting."""
        self._idl = FakeIdl(self.schema)
        self._life += 1
        self._monitoring = self._loaded = self._locked = self._was_connected = False
        self._write = ""
        self._inbox.clear()
        self.recorded = []
        self._try_connect(self._life)

    def close(self) -> None:
        """Drop the connection."""
        self._life += 1
        if self._database is not None:
            self._database.detach(self)
        self._database = self._idl = None

    @property
    def idl(self) -> FakeIdl:
        """The replica of an open session."""
        if self._idl is None:
            raise OvsdbError(f"{self.schema.name}: session is not open")
        return self._idl

    def receive(self) -> bool:
        """Take in what has arrived."""
        idl = self.idl
        while self._inbox:
            kind, content = self._inbox.popleft()
            self._take_in(idl, kind, content)
        if self._write not in ("", "busy"):
            outcome, self._write = self._write, ""
            self._note(outcome)
        changed, self._changed = self._changed, False
        if self._waits and self._timeline.now >= self.retry_at:
            self._waits, changed = False, True
        was, self._was_connected = self._was_connected, self.connected
        return changed or was != self._was_connected

    def wait(self, poller: Any) -> None:
        """Arm the poller."""
        if self._inbox:
            poller.immediate_wake()
            return
        poller.fd_wait(self.fd, 1)
        if self._waits:
            left_s = max(0.0, self.retry_at - self._timeline.now)
            poller.timer_wait(int(left_s * 1000) + 1)

    def changes(self) -> list[RowChange]:
        """Rows touched since the last call."""
        _ = self.idl
        taken, self.recorded = self.recorded, []
        return taken

    @property
    def loaded(self) -> bool:
        """Whether a first full set of rows has come since open()."""
        return self._loaded

    @property
    def connected(self) -> bool:
        """Whether the rows are those of a server that is there, as far as this end knows."""
        return self._database is not None and self._monitoring

    @property
    def has_lock(self) -> bool:
        """Whether this session holds its lock."""
        return self._locked and self.connected

    @property
    def refusal(self) -> str:
        """The remotes are good."""
        return ""

    @property
    def problem(self) -> str:
        """What keeps it from a server."""
        return "" if self.connected else f"{self.remotes}: the connection was lost"

    @property
    def can_write(self) -> bool:
        """Whether a write would be sent now."""
        return self.connected and not self.busy and self._timeline.now >= self.retry_at

    def hold_lock(self, wanted: bool) -> None:
        """Ask for the lock, or give it up."""
        name = self._lock_wanted if wanted else None
        if name == self._lock_name:
            return
        old, self._lock_name = self._lock_name, name
        self._locked = False
        if old is not None:
            self._to_server(lambda database: database.unlock(old, self))
        if name is not None:
            self._to_server(lambda database: database.lock(name, self))

    def count(self, table: str) -> int:
        """Number of rows."""
        return len(self.idl.tables[table].rows)

    def rows(self, table: str) -> Iterator[FakeRow]:
        """Rows of a table."""
        return iter(list(self.idl.tables[table].rows.values()))

    def first(self, table: str) -> FakeRow | None:
        """The only row of a table."""
        return next(self.rows(table), None)

    @property
    def busy(self) -> bool:
        """Whether a write is on its way."""
        return self._write == "busy"

    def transact(self, build: Callable[[Any], None]) -> None:
        """Send one transaction."""
        if self.busy:
            raise OvsdbError("a write is still in progress")
        idl = self.idl
        if self._timeline.now < self.retry_at:
            kind = OvsdbRefused if self._refused.failures else OvsdbConflict
            self._failure = kind(f"{self.schema.name}: not written: the last one was refused")
            return
        txn = idl.begin(_random_of(self))
        try:
            build(txn)
        except BaseException:
            idl.end(txn)
            raise
        ops = idl.end(txn)
        if not self._monitoring or self._database is None:
            self._note("try again")
        elif self._lock_name is not None and not self._locked:
            self._note("not locked")
        elif not ops:
            self._note("success")
        else:
            self._write = "busy"
            lock = self._lock_name
            self._to_server(lambda database: self._commit(database, ops, lock))

    def failure(self) -> OvsdbError | None:
        """How the last write failed, once."""
        failure, self._failure = self._failure, None
        return failure

    # --- what a test does to it ------------------------------------------------------------------

    def cut(self) -> None:
        """Lose the connection; a write that is under way may have happened."""
        if self._database is None:
            return
        self._database.detach(self)
        self._database = None
        self._held = None
        self._life += 1
        self._inbox.clear()
        self._retry(self._life)
        self.wake()

    @property
    def is_late(self) -> bool:
        """Whether what the server says does not come at once."""
        return self._held is not None or self.delay_s > 10 * RTT_S

    def partition(self, seconds: float) -> None:
        """Let nothing through for a while; a long silence ends the connection."""
        if self._held is not None or self._database is None:
            return
        self._held, life = [], self._life
        self._silent_until = self._timeline.now + seconds
        if seconds > 2 * self.probe_s:
            self._timeline.after(2 * self.probe_s, lambda: self._give_up(life))
        self._timeline.after(seconds, lambda: self._heal(life))

    def send(self, message: tuple[str, Any]) -> None:
        """Let the server say something."""
        self._in_order(lambda: self._arrive(message))

    # --- inside ----------------------------------------------------------------------------------

    def _in_order(self, run: Callable[[], None]) -> None:
        life = self._life
        self._free_at = max(self._free_at, self._timeline.now + self.delay_s)

        def arrive() -> None:
            if life == self._life:
                run()

        self._timeline.after(self._free_at - self._timeline.now, arrive)

    def _arrive(self, message: tuple[str, Any]) -> None:
        if self._held is not None:
            self._held.append(message)
            return
        self._inbox.append(message)
        self.wake()

    def _to_server(self, run: Callable[[FakeDatabase], None]) -> None:
        life = self._life

        def arrive() -> None:
            if life != self._life or self._database is None:
                return
            if self._held is not None:
                self._held.append(("outward", run))
            else:
                run(self._database)

        self._timeline.after(self.delay_s, arrive)

    def _heal(self, life: int) -> None:
        held, self._held = self._held, None
        if life != self._life or held is None:
            return
        for kind, content in held:
            if kind == "outward":
                if self._database is not None:
                    content(self._database)
            else:
                self._inbox.append((kind, content))
        self.wake()

    def _give_up(self, life: int) -> None:
        if life == self._life and self._held is not None:
            self.cut()

    def _retry(self, life: int) -> None:
        self._timeline.after(self._back_off_s, lambda: self._try_connect(life))
        self._back_off_s = min(2 * self._back_off_s, BACKOFF_MAX_S)

    def _try_connect(self, life: int) -> None:
        if life != self._life or self._idl is None:
            return
        database = self._find(self.remotes)
        if database is None or not database.up or self._timeline.now < self._silent_until:
            self._retry(life)
            return
        self._database, self._back_off_s = database, BACKOFF_S
        self._monitoring = False
        self._inbox.append(("connected", None))
        self.wake()

    def _commit(self, database: FakeDatabase, ops: list[Op], lock: str | None) -> None:
        try:
            database.transact(ops, lock, self)
        except Refused as refused:
            outcome = "try again" if refused.again else f"error {refused}"
        else:
            outcome = "success"
        self.send(("reply", outcome))

    def _note(self, outcome: str) -> None:
        if outcome == "success":
            self._refused, self._conflict = self._refused.reset(), self._conflict.reset()
            return
        refused = outcome.startswith("error")
        kind = OvsdbRefused if refused else OvsdbConflict
        self._failure = kind(f"{self.schema.name}: transaction failed: {outcome}")
        if refused:
            backoff = self._refused = self._refused.failed()
        else:
            backoff = self._conflict = self._conflict.failed()
        delay_s = backoff.delay_s(0.5)
        if delay_s:
            self.retry_at, self._waits = self._timeline.now + delay_s, True

    def _take_in(self, idl: FakeIdl, kind: str, content: Any) -> None:
        if kind == "connected":
            if self._write == "busy":
                self._write = "try again"
            self._locked = False
            self._to_server(lambda database: database.attach(self))
            if (name := self._lock_name) is not None:
                self._to_server(lambda database: database.lock(name, self))
        elif kind == "snapshot":
            self._load(idl, content)
        elif kind == "update":
            self._follow(idl, content)
        elif kind == "lock":
            name, held = content
            if name == self._lock_name:
                self._changed |= held and not self._locked
                self._locked = held
        elif self._write == "busy":
            self._write = content

    def _load(self, idl: FakeIdl, tables: Tables) -> None:
        """All rows anew, as other objects, after a word of those that have gone."""
        for name, table in idl.tables.items():
            for uuid, row in table.rows.items():
                values = tables.get(name, {}).get(uuid)
                if values is None or not self._sees(name, values):
                    self.recorded.append(RowChange(name, Change.DELETED, row, {}))
        for name, table in idl.tables.items():
            table.rows.clear()
            for uuid, values in tables.get(name, {}).items():
                if self._sees(name, values):
                    self._create(idl, name, uuid, values)
        self._monitoring = self._loaded = self._changed = True

    def _create(self, idl: FakeIdl, table: str, uuid: UUID, values: Values) -> None:
        row = idl.tables[table].rows[uuid] = FakeRow(idl, table, uuid, values)
        columns = idl.columns[table]
        if any(values[name] != column.default for name, column in columns.items()):
            self.recorded.append(RowChange(table, Change.CREATED, row, {}))
            self._changed = True

    def _follow(self, idl: FakeIdl, update: Update) -> None:
        if not self._monitoring:
            return
        for table, uuid, old, new in update:
            if table not in idl.tables:
                continue
            rows = idl.tables[table].rows
            before = old is not None and self._sees(table, old)
            after = new is not None and self._sees(table, new)
            if before and not after and uuid in rows:
                self.recorded.append(RowChange(table, Change.DELETED, rows.pop(uuid), {}))
                self._changed = True
            elif after and not before and new is not None:
                self._create(idl, table, uuid, new)
            elif after and old is not None and new is not None and uuid in rows:
                said = {
                    name: _seen(column, old[name])
                    for name, column in idl.columns[table].items()
                    if old[name] != new[name]
                }
                rows[uuid]._data = new
                if said:
                    self.recorded.append(RowChange(table, Change.UPDATED, rows[uuid], said))
                    self._changed = True

    def _sees(self, table: str, values: Values) -> bool:
        names = self._only.get(table)
        return names is None or values["name"] in names


def _seen(column: Column, value: Any) -> Any:
    return list(value) if column.kind == "set" else value


def _random_of(session: FakeSession) -> Random:
    database = session._database
    return database.random if database is not None else Random(0)
