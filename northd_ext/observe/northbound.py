# SPDX-License-Identifier: Apache-2.0
"""Edge: the northbound database: NB_Global to NbView; the report into it."""

from __future__ import annotations

from collections.abc import Mapping

import ovs.db.idl

from ovn_ipsec.ovsdb.session import Row, Session
from ovn_ipsec.schema import nb_global

from .networks import Switches
from .views import NbView


class Northbound:
    """NB_Global and the logical switches, parsed again only when they have changed."""

    def __init__(self, session: Session) -> None:
        """Store the session; its owner opens, runs and closes it."""
        self.session = session
        self._switches = Switches(session)
        self._view: NbView | None = None

    def observe(self) -> NbView | None:
        """Read what has changed.

        Returns:
            The view; None until ovn-northd or an operator has created the row.
        """
        changes = self.session.changes()
        self._switches.take_in(changes)
        if changes or self._view is None:
            row = self.session.first(nb_global.TABLE)
            self._view = None if row is None else _parse(row, self._switches.switches())
        return self._view

    def publish(self, report: Mapping[str, str]) -> None:
        """Set the report keys to these texts, in one transaction; missing ones are removed."""

        def build(txn: ovs.db.idl.Transaction) -> None:
            row = self.session.first(nb_global.TABLE)
            if row is None:
                return
            txn.add_comment("ovn-ipsec-northd: report")
            row.verify("external_ids")
            held = row.external_ids
            for key in nb_global.REPORT_KEYS:
                if key in report and held.get(key) != report[key]:
                    row.setkey("external_ids", key, report[key])
                elif key in held and key not in report:
                    row.delkey("external_ids", key)

        self.session.transact(build)


def _parse(row: Row, switches: Mapping[str, str | None]) -> NbView:
    held = row.external_ids
    networks, errors = nb_global.parse_networks(switches)
    return NbView(
        asked=nb_global.parse_policy(row.ipsec, row.options),
        report={key: held[key] for key in nb_global.REPORT_KEYS if key in held},
        switches=frozenset(switches),
        networks=networks,
        errors=errors,
        origin=str(row.uuid),
    )
