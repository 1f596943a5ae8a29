# SPDX-License-Identifier: Apache-2.0
"""The central side: both databases, the stock ovn-northd, and our northds."""

from __future__ import annotations

from random import Random
from typing import Any
from uuid import UUID

from ovn_ipsec.ovsdb.schemas import (
    NORTHBOUND,
    SOUTHBOUND,
    SOUTHBOUND_CENTRAL,
    SOUTHBOUND_NETWORKS,
)
from tests.fakes.ovsdb import FakeDatabase, Tables, Update, Values
from tests.fakes.timeline import Timeline

SCHEMAS = (SOUTHBOUND, SOUTHBOUND_CENTRAL, SOUTHBOUND_NETWORKS)
COPY_S = 0.05
"""How long ovn-northd takes."""


class Central:
    """NB, SB and who copies from one to the other."""

    def __init__(self, timeline: Timeline, random: Random) -> None:
        self.timeline = timeline
        self.nb = FakeDatabase(timeline, NORTHBOUND, random=random)
        self.sb = FakeDatabase(timeline, *SCHEMAS, random=random)
        self.spare = FakeDatabase(timeline, *SCHEMAS, random=random)
        """Another southbound, that nobody has ever written a policy into."""
        self.spare.insert("SB_Global")
        self.nb.watch.append(self._soon)
        self.sb.watch.append(self._soon)
        self._planned = False
        self._copy()

    def _soon(self, update: Update) -> None:
        tables = {"NB_Global", "SB_Global"}
        if not self._planned and any(table in tables for table, *_ in update):
            self._planned = True
            self.timeline.after(COPY_S, self._copy)

    def look(self) -> None:
        """Let ovn-northd look, though nothing seems to have happened."""
        self._copy()

    def _copy(self) -> None:
        """Make the two rows that there have to be, and copy options and the switch (ovn-northd)."""
        self._planned = False
        if not (self.nb.up and self.sb.up):
            return
        if self.nb.only("NB_Global") is None:
            self.nb.insert("NB_Global")
        if self.sb.only("SB_Global") is None:
            self.sb.insert("SB_Global")
        if "mac_prefix" not in self.nb_global["options"]:
            # It gives every northbound one of its own, so no row is ever all defaults.
            self.nb.set_keys("NB_Global", self._nb_row(), "options", mac_prefix="0a:00:01")
        said, held = self.nb_global, self.sb_global
        wanted = {"ipsec": said["ipsec"], "options": said["options"]}
        if any(held[name] != value for name, value in wanted.items()):
            self.sb.update("SB_Global", self._row(self.sb, "SB_Global"), **wanted)

    @staticmethod
    def _row(database: FakeDatabase, table: str) -> UUID:
        return next(iter(database.tables[table]))

    @property
    def nb_global(self) -> Values:
        """The row of NB_Global."""
        row = self.nb.only("NB_Global")
        assert row is not None
        return row

    @property
    def sb_global(self) -> Values:
        """The row of SB_Global."""
        row = self.sb.only("SB_Global")
        assert row is not None
        return row

    def policy(self) -> dict[str, str]:
        """Our keys in SB_Global, without `ovn-ipsec-`."""
        row = self.sb.only("SB_Global")
        prefix = "ovn-ipsec-"
        held = {} if row is None else row["external_ids"]
        return {k.removeprefix(prefix): v for k, v in held.items() if k.startswith(prefix)}

    def state(self) -> str:
        """What NB says the cluster is in."""
        row = self.nb.only("NB_Global")
        return "" if row is None else str(row["external_ids"].get("ovn-ipsec-state", ""))

    def switch(self, on: bool) -> None:
        """Set NB_Global.ipsec."""
        self.nb.update("NB_Global", self._nb_row(), ipsec=on)

    def set_switch(self, *, on: bool) -> None:
        """Set NB_Global.ipsec."""
        self.nb.update("NB_Global", self._nb_row(), ipsec=on)

    def set_option(self, key: str, text: str | None) -> None:
        """Set NB_Global.options:ovn-ipsec-KEY, or take it away."""
        self.nb.set_keys("NB_Global", self._nb_row(), "options", **{f"ovn-ipsec-{key}": text})

    def _nb_row(self) -> UUID:
        if self.nb.only("NB_Global") is None:
            self.nb.insert("NB_Global")
        return self._row(self.nb, "NB_Global")

    def find(self, remotes: str) -> FakeDatabase | None:
        """Who answers at some remotes."""
        known = {"6641": self.nb, "6642": self.sb, "6643": self.spare}
        for remote in remotes.split(","):
            found = known.get(remote.strip().rpartition(":")[2])
            if found is not None and found.up:
                return found
        return None

    def backup(self) -> tuple[Tables, Tables]:
        """Keep both databases."""
        return self.nb.snapshot(), self.sb.snapshot()


def only_policy(tables: Tables, table: str, **values: Any) -> Tables:
    """A backup with one row of a table changed."""
    changed = {row: {**held, **values} for row, held in tables[table].items()}
    return {**tables, table: changed}
