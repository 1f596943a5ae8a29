# SPDX-License-Identifier: Apache-2.0
"""Edge: southbound rows of every chassis in; this chassis' digest and certificate out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import ovs.poller
import structlog
from ovs.db.idl import Transaction

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import ClusterPolicy
from ovn_ipsec.ovsdb.rows import raw_chassis
from ovn_ipsec.ovsdb.session import Change, Row, RowChange, Session
from ovn_ipsec.schema import report, sb_global
from ovn_ipsec.schema.encap import ParsedChassis, parse_chassis
from ovn_ipsec.schema.fields import Place

from .plan.cluster.intake import Intake
from .plan.credentials import pins

_log = structlog.get_logger()

LISTEN_S = 0.2
"""Between two looks at the southbound while rows are delayed that change all the time.

Each of its writes would cause a whole pass; of other rows, only these looks delay the news."""
SILENT = f"the southbound has no policy of ovn-ipsec-northd ({sb_global.TABLE} {sb_global.SCHEMA})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChassisSeen:
    """What has changed in the rows of one chassis."""

    name: str
    parsed: ParsedChassis | None
    """None: its row is gone."""
    pin: str | None
    """The certificate that it publishes, unchecked; None: its row is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SouthboundSeen:
    """The contents of the southbound, as one value."""

    policy: Known[ClusterPolicy] | Unknown
    """Unknown: nothing was ever written, it does not parse, or it has another schema. That does not
    mean *off*: what applied before still applies."""
    error: InputError | None
    """What in SB_Global does not parse."""
    own_pin: str
    """What our Chassis row publishes."""
    answer: str
    """The answer in our Chassis_Private row to our certificate request."""
    reporting: frozenset[str]
    """Chassis, of those whose rows are monitored, for which a controller of ours has reported."""
    has_row: bool
    """Whether there is a Chassis row of our name."""
    sb_global: tuple[bool, Mapping[str, str]] | None
    """SB_Global's ipsec and options; None until there is such a row."""


class Southbound:
    """The southbound, followed row by row."""

    def __init__(self, session: Session, name: str) -> None:
        """Keep the session, which its owner opens.

        Args:
            session: To the southbound.
            name: The name of this chassis.
        """
        self.session = session
        self._name = name
        self._rows: dict[str, Row] = {}
        self._private: dict[str, Row] = {}
        self._intake = Intake(name)
        self._listen_at = float("-inf")
        """Until then, what arrives is nothing that cannot wait, if rows are delayed already."""
        self._given: list[str] = []
        """Chassis that were last handed out; those whose rows are gone are known only from here."""

    def receive(self, now: float) -> bool:
        """Process what has arrived; returns whether anything may have changed."""
        changed = self.session.receive()
        if changed:
            self._listen_at = now + LISTEN_S
        if changed and self.session.loaded:
            self._intake.note(self._take_in())
        failure = self.session.failure()
        if failure is not None:
            _log.warning("digest_not_written", reason=failure.diagnostics())
        return changed

    @property
    def loaded(self) -> bool:
        """Whether all rows have arrived once."""
        return self.session.loaded

    def wake_at(self) -> float | None:
        """When delayed rows may be processed, monotonic seconds."""
        return self._intake.wake_at()

    def wait(self, poller: ovs.poller.Poller, now: float) -> None:
        """Arm the poller with everything that receive() could act on, or with the next look."""
        if self.wake_at() is None or self.session.busy or now >= self._listen_at:
            self.session.wait(poller)
        else:
            poller.timer_wait(int((self._listen_at - now) * 1000) + 1)

    def changed_chassis(self, now: float) -> list[ChassisSeen]:
        """Chassis whose rows or encaps changed and that have not been handed out since."""
        found: list[ChassisSeen] = []
        self._given = self._intake.take(now)
        for name in self._given:
            row = self._rows.get(name)
            if row is None:
                found.append(ChassisSeen(name=name, parsed=None, pin=None))
                continue
            parsed = _parse(name, row)
            text = row.external_ids.get(pins.KEY, "")
            found.append(ChassisSeen(name=name, parsed=parsed, pin=text))
        return found

    def give_again(self, names: Iterable[str]) -> None:
        """Hand out chassis again, in the state that they have by then."""
        self._intake.note(names)

    def start_over(self) -> None:
        """Hand out every chassis again, because what was last handed out was not processed."""
        self._intake.note([*self._rows, *self._given])

    def observe(self) -> SouthboundSeen:
        """Read what does not belong to a single chassis."""
        policy: Known[ClusterPolicy] | Unknown = Unknown(SILENT)
        error, sb_global_seen = None, None
        row = self.session.first("SB_Global")
        if row is not None:
            sb_global_seen = (row.ipsec, dict(row.options))
            try:
                parsed = sb_global.parse_policy(row.external_ids)
                policy = Known(parsed) if parsed is not None else policy
            except InputError as refused:
                error, policy = refused, Unknown(refused.diagnostics())
        own, private = self._rows.get(self._name), self._private.get(self._name)
        reporting = (n for n, row in self._private.items() if report.AGENT in row.external_ids)
        return SouthboundSeen(
            policy=policy,
            error=error,
            own_pin="" if own is None else own.external_ids.get(pins.KEY, ""),
            answer="" if private is None else private.external_ids.get(report.ANSWER, ""),
            reporting=frozenset(reporting),
            has_row=own is not None,
            sb_global=sb_global_seen,
        )

    def _take_in(self) -> list[str]:
        names: dict[str, None] = {}
        for change in self.session.changes():
            if change.table == "Chassis_Private":
                self._note(self._private, change)
            elif change.table == "Chassis":
                names.update(dict.fromkeys(self._note(self._rows, change)))
            elif change.table == "Encap":
                names[change.row.chassis_name] = None
        return [*names, *self._vanished()]

    def _vanished(self) -> list[str]:
        """Chassis that disappeared while disconnected: the IDL reloads without reporting them."""
        gone: list[str] = []
        for table, rows in (("Chassis", self._rows), ("Chassis_Private", self._private)):
            if len(rows) == self.session.count(table):
                continue
            present = {row.uuid for row in self.session.rows(table)}
            for name in [name for name, row in rows.items() if row.uuid not in present]:
                del rows[name]
                gone.append(name)
        return gone

    @staticmethod
    def _note(rows: dict[str, Row], change: RowChange) -> list[str]:
        """Process one row; a renamed chassis keeps its row (ovn controller/chassis.c)."""
        row, name, names = change.row, change.row.name, [change.row.name]
        before = change.before.get("name", name)
        if before != name and rows.get(before) is row:
            del rows[before]
            names.append(before)
        if change.change is not Change.DELETED:
            rows[name] = row
        elif rows.get(name) is row:
            del rows[name]
        return names

    def publish(self, digest: Mapping[str, str], pin: str, *, makes_row: bool = False) -> bool:
        """Write the digest, and the certificate to pin, if they differ.

        Args:
            digest: Keys for our Chassis_Private row; other keys of ours are removed.
            pin: For our Chassis row; empty: none.
            makes_row: Whether to create a missing Chassis_Private row, because no other program
                does: PortKeeper.makes_row.

        Returns:
            Whether the rows are up to date, a write is in progress, or this chassis has no row
            (whose arrival wakes the loop); False if it has to be tried again.
        """
        if self.session.busy or not self.session.can_write:
            return False
        private, row = self._private.get(self._name), self._rows.get(self._name)
        writes: list[tuple[Row, str, str | None]] = []
        if private:
            known = (*report.KEYS, report.REQUEST)
            writes += _differences(private, known, digest)
        if row:
            writes += _differences(row, (pins.KEY,), {pins.KEY: pin} if pin else {})
        own = None
        if makes_row and row is not None and self._may_own(private):
            own = _OwnRow(name=self._name, chassis=row, private=private, external_ids=digest)
        if writes or own is not None:
            self.session.transact(lambda txn: _write(txn, writes, own))
        return True

    def _may_own(self, private: Row | None) -> bool:
        """Whether our Chassis_Private row is known to be missing, or to belong to no chassis."""
        if not (self.session.loaded and self.session.connected):
            return False
        return private is None or not private.chassis


def _parse(name: str, row: Row) -> ParsedChassis:
    """Parse a row; one that breaks the parser is refused, and the others are processed."""
    try:
        return parse_chassis(raw_chassis(row))
    except Exception as error:  # noqa: BLE001 - rows are hostile, and one chassis is one chassis
        _log.exception("row_not_parsed", chassis=name[:80])
        place = Place(table="Chassis", row=name[:80], key="encaps")
        refused = place.error("", f"cannot be parsed ({type(error).__name__})")
        return ParsedChassis(chassis=None, errors=(refused,))


def _differences(
    row: Row, known: Iterable[str], wanted: Mapping[str, str]
) -> list[tuple[Row, str, str | None]]:
    current = row.external_ids
    changed = [(row, key, text) for key, text in wanted.items() if current.get(key) != text]
    gone = [(row, key, None) for key in known if key in current and key not in wanted]
    return [*changed, *gone]


NEVER_BEHIND = 2**31 - 1
"""Chassis_Private.nb_cfg of a chassis without ovn-controller. With 0, `ovn-nbctl --wait=hv` would
wait for it for ever; an ovn-controller that takes over writes the true value.

Source: OVN northd/ovn-northd.c, update_sequence_numbers: more than INT32_MAX ahead is an overflow.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OwnRow:
    """The wanted Chassis_Private row of a chassis on which no ovn-controller runs."""

    name: str
    chassis: Row
    private: Row | None
    external_ids: Mapping[str, str]


def _make(txn: Transaction, own: _OwnRow) -> None:
    """Create the row as ovn-controller would, which finds it by its name and keeps it."""
    private = own.private
    if private is None:
        txn.add_comment("ovn-ipsec-controller: Chassis_Private row")
        private = txn.insert(txn.idl.tables["Chassis_Private"])
        private.name = own.name
        private.nb_cfg = NEVER_BEHIND
        private.external_ids = dict(own.external_ids)
    private.chassis = [own.chassis]


def _write(
    txn: Transaction, writes: Iterable[tuple[Row, str, str | None]], own: _OwnRow | None
) -> None:
    if own is not None:
        _make(txn, own)
    for row, key, text in writes:
        if text is None:
            row.delkey("external_ids", key)
        else:
            row.setkey("external_ids", key, text)
