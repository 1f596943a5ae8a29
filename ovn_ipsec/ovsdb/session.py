# SPDX-License-Identifier: Apache-2.0
"""Edge: one OVSDB database: its rows as of the last receive(), what changed, and writes.

A Session is driven by the daemon's single loop: receive() processes what has arrived, changes()
says which rows that affected, transact() sends a write, whose answer a later receive() collects.
Nothing here decides or waits. While disconnected, rows() are the last known ones: *unknown* is
never *empty*.

A connection that cannot be made raises nothing: `problem` says why, which is logged when it
changes, and it is tried again, at growing intervals up to about 10 s, and at once when the TLS
files change. A write that the server refuses is not sent again before `retry_at`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ovs.db.idl
import ovs.poller
import structlog

from ..clock import SYSTEM, Clock
from ..errors import OvsdbConflict, OvsdbError, OvsdbRefused
from ..model.pacing import Backoff
from ..model.text import printable
from ..schema.fields import Place
from ..schema.remotes import parse_remotes
from .idl import Change, RecordingIdl, Row, RowChange, chance
from .streams import NO_TLS, Dialer, TlsFiles, dialing

LOOK_EVERY_S = 1.0
"""At TLS files, while a connection that needs them is not there."""
REFUSED = Backoff(first_s=1.0, most_s=60.0)
CONFLICT = Backoff(first_s=0.25, most_s=5.0, free=3)
_NOWHERE = "unix:nowhere"
_log = structlog.get_logger()
__all__ = ["Change", "Row", "RowChange", "Session", "TlsFiles"]


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
        tls: TlsFiles | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        """Store what open() needs.

        Args:
            remotes: Comma list of OVSDB remotes (ovsdb(7)), with names and blanks as ovn-sbctl
                takes them; a part that is none is a problem, and the others are used.
            schema: One of ovn_ipsec.ovsdb.schemas.
            leader_only: Talk to the Raft leader only: needed where the lock or a write must hold.
            probe_interval_s: Seconds between probes of an idle connection; 0 for none.
            lock: OVSDB lock (RFC 7047 section 4.1.8) that every write here asserts.
            only: Conditions by table (ovsdb-server(7), monitor_cond): other rows do not come.
            tls: For ssl: remotes.
            clock: For `retry_at` and looks at TLS files.
        """
        self.remotes = remotes
        self._parsed = parse_remotes(Place(table="remotes", row=schema["name"], key=""), remotes)
        self._unusable = [f"{printable(e.text, 80)}: {e.reason}" for e in self._parsed.errors]
        self._schema = schema
        self._leader_only = leader_only
        self._probe_interval_s = probe_interval_s
        self._lock = lock
        self._only = dict(only or {})
        self._clock = clock
        self._dialer = Dialer(tls=tls)
        self._idl: RecordingIdl | None = None
        self._write: ovs.db.idl.Transaction | None = None
        self._failure: OvsdbError | None = None
        self._seqno = 0
        self._loaded = self._was_connected = False
        self._before: dict[str, dict[Any, Row]] | None = None
        """Rows by table as they were when the connection broke."""
        self._told = ""
        self._look_at = float("-inf")
        self._refused, self._conflict = REFUSED, CONFLICT
        self._retry_at = float("-inf")
        self._waits = False

    def open(self) -> None:
        """Start connecting; does not wait, and does not fail. One that was closed starts anew."""
        self._loaded = self._was_connected = False
        self._seqno, self._before, self._write = 0, None, None
        self._dialer.failures.clear()
        helper = ovs.db.idl.SchemaHelper(schema_json=self._schema)
        helper.register_all()
        self._idl = RecordingIdl(
            str(self._parsed) or _NOWHERE,
            helper,
            probe_interval=int(self._probe_interval_s * 1000),
            leader_only=self._leader_only,
        )
        self._idl.spread()
        if not self._parsed.usable:
            self._idl.stop()
        for table, conditions in self._only.items():
            # Not by cond_change(): while a change is pending Idl.wait() does not wait.
            state = self._idl.tables[table].condition_state
            state.init(conditions)
            state.request()
            state.ack()
        if self._lock is not None:
            self._idl.set_lock(self._lock)

    def close(self) -> None:
        """Drop the connection, and forget the rows."""
        if self._idl is not None:
            self._idl.close()
            self._idl, self._loaded = None, False

    def use_tls(self, files: TlsFiles | None) -> None:
        """Authenticate with other files from the next attempt on; what is connected stays so."""
        if files != self._dialer.tls:
            self._dialer.tls = files
            self._look_at = float("-inf")

    @property
    def idl(self) -> RecordingIdl:
        """The IDL of an open session."""
        if self._idl is None:
            raise OvsdbError(f"{self._schema['name']}: session is not open")
        return self._idl

    def receive(self) -> bool:
        """Take in what has arrived. Nothing that a server or a network does raises here.

        Returns:
            Whether rows, the lock, the connection or what may be written may have changed.
        """
        idl = self.idl
        self._look_at_tls(idl)
        remote, mark, sane = idl.remote, len(idl.recorded), True
        with dialing(self._dialer):
            try:
                idl.run()
            except Exception as error:  # noqa: BLE001 - a server's nonsense must not end the loop
                sane = False
                idl.start_over()
                self._dialer.failed(remote, f"it does not speak OVSDB: {error!r}")
        self._settle_write()
        self._note_reload(idl, mark)
        if sane and (unfit := idl.unfit()):
            self._dialer.failed(remote, unfit)
        changed = self._note_connection(idl, remote)
        if self._waits and self._clock.monotonic() >= self._retry_at:
            self._waits, changed = False, True
        changed = bool(changed or self._seqno != idl.change_seqno)
        self._seqno = idl.change_seqno
        return changed

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller with everything that receive() could act on."""
        self.idl.wait(poller)
        times = [self._retry_at] if self._waits else []
        if self._wants_tls and not self.connected:
            times.append(self._look_at)
        if times:
            left_s = max(0.0, min(times) - self._clock.monotonic())
            poller.timer_wait(int(left_s * 1000) + 1)

    def changes(self) -> list[RowChange]:
        """Rows touched since the last call, oldest first.

        A server that was emptied or replaced while it was away is told row by row: those that
        it no longer has are DELETED, those that it has are CREATED, again or for the first time.
        """
        taken, self.idl.recorded = self.idl.recorded, []
        return taken

    @property
    def loaded(self) -> bool:
        """Whether a first full set of rows has arrived since open()."""
        return self._loaded

    @property
    def connected(self) -> bool:
        """Whether the rows are those that a connected server has now."""
        return self._idl is not None and self._idl.is_current

    @property
    def refusal(self) -> str:
        """Why there will be no connection until somebody changes what was given; empty if none."""
        if not self._parsed.usable:
            return "; ".join(self._unusable) or f"{self._schema['name']}: no remote is given"
        alone = all(remote.method == "ssl" for remote in self._parsed.usable)
        return NO_TLS if alone and self._dialer.tls is None else ""

    @property
    def problem(self) -> str:
        """What keeps this session from a server, or is wrong with its remotes; empty if nothing."""
        if self.refusal:
            return self.refusal
        texts = list(self._unusable)
        if not self.connected:
            by_reason: dict[str, list[str]] = {}
            for remote, reason in sorted(self._dialer.failures.items()):
                by_reason.setdefault(reason, []).append(remote)
            texts += [f"{', '.join(where)}: {why}" for why, where in by_reason.items()]
        return "; ".join(texts)

    @property
    def has_lock(self) -> bool:
        """Whether this session holds its lock; it does not while it is not connected."""
        return bool(self.idl.has_lock) and self.connected

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
        """Whether a write is still in progress; the next one has to wait for it."""
        return self._write is not None

    @property
    def retry_at(self) -> float:
        """When the next write may be sent, monotonic seconds: later after each refusal."""
        return self._retry_at

    @property
    def can_write(self) -> bool:
        """Whether a write would be sent now."""
        return self.connected and not self.busy and self._clock.monotonic() >= self._retry_at

    def transact(self, build: Callable[[ovs.db.idl.Transaction], None]) -> None:
        """Send one transaction; receive() collects its answer, failure() tells how it ended.

        Before `retry_at` nothing is sent, and the failure is the last one once more.

        Args:
            build: Changes rows; called once, at once.

        Raises:
            OvsdbError: A write is still on its way, or build failed.
        """
        if self.busy:
            raise OvsdbError("a write is still in progress")
        left_s = self._retry_at - self._clock.monotonic()
        if left_s > 0:
            kind = OvsdbRefused if self._refused.failures else OvsdbConflict
            text = f"not written: the last one was refused; again in {left_s:.0f} s"
            self._failure = kind(f"{self._schema['name']}: {text}")
            return
        txn = ovs.db.idl.Transaction(self.idl)
        try:
            build(txn)
            self._write = txn
            self._settle_write()
        except Exception:
            self._write = None
            txn.abort()
            raise

    def failure(self) -> OvsdbError | None:
        """How the last write failed, once; None when it did not.

        OvsdbConflict: look again and decide anew. OvsdbRefused: it will not be taken soon either.
        """
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
        name = self._schema["name"]
        if status in (txn.SUCCESS, txn.UNCHANGED):
            self._refused, self._conflict = self._refused.reset(), self._conflict.reset()
        elif status in (txn.TRY_AGAIN, txn.NOT_LOCKED):
            self._conflict = self._conflict.failed()
            self._put_off(self._conflict)
            self._failure = OvsdbConflict(f"{name}: transaction failed: {status}")
        else:
            if status is None:  # the library gives up on a value that a column does not take
                txn.abort()
            self._refused = self._refused.failed()
            self._put_off(self._refused)
            text = _details(txn.get_error())
            self._failure = OvsdbRefused(f"{name}: transaction refused: {text}")

    def _put_off(self, backoff: Backoff) -> None:
        delay_s = backoff.delay_s(chance.random())
        if delay_s:
            self._retry_at, self._waits = self._clock.monotonic() + delay_s, True

    @property
    def _wants_tls(self) -> bool:
        return any(remote.method == "ssl" for remote in self._parsed.usable)

    def _look_at_tls(self, idl: RecordingIdl) -> None:
        """Try at once when the TLS files are others than those of the last attempt."""
        now = self._clock.monotonic()
        if not self._wants_tls or idl.is_current or now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        files, dialer = self._dialer.tls, self._dialer
        stamp = files.stamp() if files is not None else ()
        if stamp != dialer.tried and not idl.is_on_the_wire:
            dialer.tried = stamp
            idl.connect_now()

    def _note_reload(self, idl: RecordingIdl, mark: int) -> None:
        """Tell which rows have gone unseen: a full reload tells of those that came, not of those.

        The library never leaves and reaches IDL_S_MONITORING in one receive().
        """
        if idl.state != idl.IDL_S_MONITORING:
            if self._before is None and self._loaded:
                self._before = {name: dict(table.rows) for name, table in idl.tables.items()}
            return
        self._loaded = True
        if self._before is None:
            return
        idl.recorded[mark:mark] = [
            RowChange(name, Change.DELETED, row, {})
            for name, rows in self._before.items()
            for key, row in rows.items()
            if key not in idl.tables[name].rows
        ]
        self._before = None

    def _note_connection(self, idl: RecordingIdl, remote: str) -> bool:
        """Note and log what has become of the connection; returns whether it came or went."""
        is_connected, was_connected = idl.is_current, self._was_connected
        if is_connected:
            self._dialer.failures.clear()
        elif was_connected and remote not in self._dialer.failures:
            self._dialer.failed(remote, "the connection was lost")
        self._was_connected = is_connected
        problem = self.problem
        if structlog.is_configured():
            name = self._schema["name"]
            if problem and problem != self._told:
                _log.warning("database_problem", database=name, problem=problem)
            if is_connected and not was_connected:
                _log.info("database_connected", database=name, remote=idl.remote)
        self._told = problem
        return is_connected != was_connected


def _details(text: str) -> str:
    """What a server's answer says: `error` and `details` of RFC 7047 section 3.1."""
    try:
        found = json.loads(text)
        text = f"{found['error']}: {found.get('details', '')}"
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return printable(text)
