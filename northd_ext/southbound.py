# SPDX-License-Identifier: Apache-2.0
"""Edge: the southbound database: rows to SbView, one row at a time; the policy into it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from uuid import UUID

import ovs.db.idl

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import IpAddress
from ovn_ipsec.model.policy import ClusterPolicy
from ovn_ipsec.model.status import Digest
from ovn_ipsec.ovsdb.session import Change, Row, RowChange, Session
from ovn_ipsec.schema import encap as encap_schema
from ovn_ipsec.schema import fields as parse
from ovn_ipsec.schema import report, sb_global
from ovn_ipsec.schema.fields import Place

from .bounds.encaps import choose
from .observe.views import Asked, ChassisFacts, EncapFacts, Remote, SbView
from .policy.evaluation import EncapChange

_CHASSIS = "Chassis"
_CONNECTION = "Connection"
_TEXT_MAX = 64
_Report = tuple[UUID, Digest | None, InputError | None]


class Southbound:
    """SB's rows, kept parsed: a row that has not changed is not parsed again."""

    def __init__(self, session: Session) -> None:
        """Store the session; its owner opens, runs and closes it."""
        self.session = session
        self._chassis: dict[UUID, ChassisFacts] = {}
        self._by_name: dict[str, ChassisFacts] = {}
        self._row_of: dict[str, UUID] = {}
        self._owner: dict[UUID, UUID] = {}
        """Encap row to Chassis row."""
        self._reports: dict[UUID, str] = {}
        """Chassis_Private row to name."""
        self._report_of: dict[str, _Report] = {}
        self._asked: dict[UUID, Asked] = {}
        """Chassis_Private row to the certificate request in it."""

    def observe(self) -> SbView | None:
        """Read what has changed.

        Returns:
            The view; None until ovn-northd has created the SB_Global row.
        """
        self._take_in(self.session.changes())
        if self._is_stale():
            self._load_all()
        row = self.session.first(sb_global.TABLE)
        if row is None:
            return None
        policy, error, generation = None, None, 0
        try:
            policy = sb_global.parse_policy(row.external_ids)
        except InputError as refused:
            error, generation = refused, sb_global.readable_generation(row.external_ids)
        return SbView(
            policy=policy,
            error=error,
            readable_generation=generation,
            chassis=MappingProxyType(self._by_name),
        )

    def publish(self, policy: ClusterPolicy, changes: Sequence[EncapChange]) -> None:
        """Write a policy and encap keys in one transaction, unless another program wrote meanwhile.

        Only keys that differ are written. Encap rows that no longer exist are skipped.
        """

        def build(txn: ovs.db.idl.Transaction) -> None:
            row = self.session.first(sb_global.TABLE)
            if row is None:
                return
            txn.add_comment(f"ovn-ipsec-northd: {policy.phase} generation {policy.generation}")
            row.verify("external_ids")
            held = row.external_ids
            for key, text in sb_global.format_policy(policy).items():
                if held.get(key) != text:
                    row.setkey("external_ids", key, text)
            self._write_encaps(changes)

        self.session.transact(build)

    def asked(self) -> Collection[Asked]:
        """Chassis that request a certificate."""
        return self._asked.values()

    def remotes(self) -> list[Remote]:
        """Where the southbound server listens."""
        rows = self.session.rows(_CONNECTION)
        return [Remote(target=row.target, role=row.role) for row in rows]

    def publish_certificates(self, certificates: Mapping[str, str]) -> None:
        """Write the answers to chassis, in one transaction."""
        rows = self.session.idl.tables[report.TABLE].rows

        def build(txn: ovs.db.idl.Transaction) -> None:
            txn.add_comment("ovn-ipsec-northd: certificates")
            for uuid, asked in self._asked.items():
                row = rows.get(uuid)
                if row is not None and asked.name in certificates:
                    row.setkey("external_ids", report.ANSWER, certificates[asked.name])

        self.session.transact(build)

    def _write_encaps(self, changes: Iterable[EncapChange]) -> None:
        rows = self.session.idl.tables[encap_schema.TABLE].rows
        for change in changes:
            row = rows.get(change.row)
            if row is None:
                continue
            texts = {encap_schema.MODE: change.mode, encap_schema.CLASS: change.class_name}
            held = row.options
            for key, text in texts.items():
                if text is None and key in held:
                    row.delkey("options", key)
                elif text is not None and held.get(key) != text:
                    row.setkey("options", key, str(text))

    def _take_in(self, changes: Iterable[RowChange]) -> None:
        touched: dict[UUID, Row] = {}
        for change in changes:
            row = change.row
            if change.table == report.TABLE:
                if change.change is Change.DELETED:
                    self._forget_report(row.uuid)
                else:
                    self._take_in_report(row)
            elif change.table == _CHASSIS and change.change is Change.DELETED:
                self._forget(row.uuid)
                touched.pop(row.uuid, None)
            elif change.table == _CHASSIS:
                touched[row.uuid] = row
            elif change.table == encap_schema.TABLE and row.uuid in self._owner:
                owner = self.session.idl.tables[_CHASSIS].rows.get(self._owner[row.uuid])
                if owner is not None:
                    touched[owner.uuid] = owner
        for row in touched.values():
            self._take_in_chassis(row)

    def _is_stale(self) -> bool:
        """Whether rows disappeared unnoticed: a full reload reports rows that came, not others."""
        tables = self.session.idl.tables
        return len(self._chassis) != len(tables[_CHASSIS].rows) or len(self._reports) != len(
            tables[report.TABLE].rows
        )

    def _load_all(self) -> None:
        caches: tuple[dict[Any, Any], ...] = (self._chassis, self._by_name, self._row_of)
        for cache in (*caches, self._owner, self._reports, self._report_of, self._asked):
            cache.clear()
        for row in self.session.rows(report.TABLE):
            self._take_in_report(row)
        for row in self.session.rows(_CHASSIS):
            self._take_in_chassis(row)

    def _forget(self, row: UUID) -> None:
        facts = self._chassis.pop(row, None)
        if facts is None:
            return
        for encap in facts.encaps:
            if self._owner.get(encap.row) == row:
                del self._owner[encap.row]
        if self._row_of.get(facts.name) == row:
            del self._row_of[facts.name], self._by_name[facts.name]

    def _take_in_chassis(self, row: Row) -> None:
        self._forget(row.uuid)
        name = row.name
        rows, error = choose(name, row.encaps)
        encaps = sorted((_parse_encap(name, e) for e in rows), key=lambda e: e.label)
        facts = ChassisFacts(
            name=name,
            is_remote=row.other_config.get(encap_schema.IS_REMOTE) == "true",
            is_interconn=row.other_config.get(encap_schema.IS_INTERCONN) == "true",
            hostname=row.hostname,
            zones=frozenset(row.transport_zones),
            azs=encap_schema.availability_zones(row.other_config),
            encaps=tuple(encaps),
            encap_error=error,
        )
        self._chassis[row.uuid] = self._by_name[name] = facts
        self._row_of[name] = row.uuid
        self._owner.update((encap.row, row.uuid) for encap in encaps)
        self._join(name)

    def _take_in_report(self, row: Row) -> None:
        """Parse a Chassis_Private row again; its chassis may be known already, or come later."""
        name = row.name
        self._forget_report(row.uuid)
        self._reports[row.uuid] = name
        keys = row.external_ids  # decoded each time that it is asked for
        self._report_of[name] = (row.uuid, *_parse_report(name, keys))
        self._asked.pop(row.uuid, None)
        if report.REQUEST in keys:
            self._asked[row.uuid] = Asked(
                name=name, request=keys[report.REQUEST], answer=keys.get(report.ANSWER, "")
            )
        self._join(name)

    def _forget_report(self, row: UUID) -> None:
        self._asked.pop(row, None)
        name = self._reports.pop(row, None)
        if name is not None and self._report_of[name][0] == row:
            del self._report_of[name]
            self._join(name)

    def _join(self, name: str) -> None:
        row = self._row_of.get(name)
        if row is None:
            return
        _, digest, error = self._report_of.get(name, (None, None, None))
        facts = replace(self._chassis[row], digest=digest, digest_error=error)
        self._chassis[row] = self._by_name[name] = facts


def _parse_encap(chassis: str, row: Row) -> EncapFacts:
    kind, ip = (report.printable(text, _TEXT_MAX) for text in (row.type, row.ip))
    return EncapFacts(
        row=row.uuid,
        label=f"{chassis}/{kind}/{ip}",
        type=kind,
        text=row.options.get(encap_schema.MODE),
        class_text=row.options.get(encap_schema.CLASS),
        ip=_parse_ip(row.ip),
    )


def _parse_ip(text: str) -> IpAddress | None:
    try:
        return parse.address(Place(table=encap_schema.TABLE, row="", key="ip"), text)
    except InputError:
        return None


def _parse_report(name: str, keys: Mapping[str, str]) -> tuple[Digest | None, InputError | None]:
    try:
        return report.parse_digest(name, keys), None
    except InputError as error:
        return None, error
