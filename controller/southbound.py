# SPDX-License-Identifier: Apache-2.0
"""Edge: the southbound rows of every chassis in, this chassis' digest and certificate out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import ClusterPolicy
from ovn_ipsec.ovsdb.rows import raw_chassis
from ovn_ipsec.ovsdb.session import Change, Row, Session
from ovn_ipsec.schema import report, sb_global
from ovn_ipsec.schema.encap import ParsedChassis, parse_chassis

from .plan import pins


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalSeen:
    """What SB_Global says."""

    policy: ClusterPolicy | None
    """None: nothing was ever said, or it is junk; whatever held before goes on."""
    error: InputError | None
    ipsec: bool
    options: Mapping[str, str]


class Southbound:
    """The southbound as rows change."""

    def __init__(self, session: Session) -> None:
        """Store the session; it is opened by its owner."""
        self.session = session
        self._rows: dict[str, Row] = {}
        self._private: dict[str, Row] = {}
        self._touched: dict[str, None] = {}

    def changed_chassis(self) -> Iterator[tuple[str, ParsedChassis | None]]:
        """Chassis whose rows or encaps changed since the last call; None: the row is gone."""
        names: dict[str, None] = {}
        for change in self.session.changes():
            if change.table == "Chassis_Private":
                self._note(self._private, change.row, change.change)
            elif change.table == "Chassis":
                self._note(self._rows, change.row, change.change)
                names[change.row.name] = None
            elif change.table == "Encap":
                names[change.row.chassis_name] = None
        names.update(dict.fromkeys(self._vanished()))
        self._touched.update(names)
        for name in names:
            found = self._rows.get(name)
            yield name, None if found is None else parse_chassis(raw_chassis(found))

    def changed_pins(self) -> Iterator[tuple[str, str | None]]:
        """What chassis whose rows changed since the last call publish; None: the row is gone.

        After changed_chassis(): that takes the changes in.
        """
        names, self._touched = self._touched, {}
        for name in names:
            found = self._rows.get(name)
            yield name, None if found is None else found.external_ids.get(pins.KEY, "")

    def published(self, name: str) -> tuple[str, str]:
        """What the rows of a chassis say: its certificate to pin, and the answer to its request."""
        row, private = self._rows.get(name), self._private.get(name)
        return (
            "" if row is None else row.external_ids.get(pins.KEY, ""),
            "" if private is None else private.external_ids.get(report.ANSWER, ""),
        )

    def has_digest(self, name: str) -> bool:
        """Whether a controller of ours has reported for a chassis, of those whose rows come."""
        row = self._private.get(name)
        return row is not None and report.AGENT in row.external_ids

    def _vanished(self) -> list[str]:
        """Chassis that went while the connection was down: the IDL reloads without saying so."""
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
    def _note(rows: dict[str, Row], row: Row, change: Change) -> None:
        name: str = row.name
        if change is not Change.DELETED:
            rows[name] = row
        elif rows.get(name) is row:
            del rows[name]

    def seen_global(self) -> GlobalSeen:
        """Read SB_Global."""
        row = self.session.first("SB_Global")
        if row is None:
            return GlobalSeen(policy=None, error=None, ipsec=False, options={})
        policy, refused = None, None
        try:
            policy = sb_global.parse_policy(row.external_ids)
        except InputError as error:
            refused = error
        return GlobalSeen(policy=policy, error=refused, ipsec=row.ipsec, options=dict(row.options))

    def publish(self, name: str, digest: Mapping[str, str], pin: str) -> bool:
        """Write the digest, and the certificate to pin, where they differ.

        Args:
            name: This chassis.
            digest: Keys for its Chassis_Private row; those of ours that are not there go.
            pin: For its Chassis row; empty: none.

        Returns:
            Whether the rows now say so, or a write is on its way; False when it has to be tried
            again: another write is under way, or this chassis has no row.
        """
        if self.session.busy:
            return False
        private, row = self._private.get(name), self._rows.get(name)
        writes: list[tuple[Row, str, str | None]] = []
        if private:
            known = (*report.KEYS, report.REQUEST)
            writes += _differences(private, known, digest)
        if row:
            writes += _differences(row, (pins.KEY,), {pins.KEY: pin} if pin else {})
        if writes:
            self.session.transact(lambda _txn: _write(writes))
        return bool(private)


def _differences(
    row: Row, known: Iterable[str], wanted: Mapping[str, str]
) -> list[tuple[Row, str, str | None]]:
    current = row.external_ids
    changed = [(row, key, text) for key, text in wanted.items() if current.get(key) != text]
    gone = [(row, key, None) for key in known if key in current and key not in wanted]
    return [*changed, *gone]


def _write(writes: Iterable[tuple[Row, str, str | None]]) -> None:
    for row, key, text in writes:
        if text is None:
            row.delkey("external_ids", key)
        else:
            row.setkey("external_ids", key, text)
