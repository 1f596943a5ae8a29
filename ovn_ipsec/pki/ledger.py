# SPDX-License-Identifier: Apache-2.0
"""Pure: the ledger as whoever signs needs it: every look-up and every entry costs the same.

That holds however many certificates there are, as they are kept by chassis name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from ..model.chassis import ChassisName
from .index import Entry, Index, alive


class Ledger:
    """An Index, and what was entered since it was written."""

    def __init__(self, index: Index) -> None:
        self._written = index
        self._entered: list[Entry] = []
        self._index: Index | None = index
        self._of: defaultdict[ChassisName, list[Entry]] = defaultdict(list)
        self._spelled: defaultdict[str, set[ChassisName]] = defaultdict(set)
        self._revoked: set[str] = set()
        self._revoked_names = {name.lower(): name for name in index.revoked_names}
        for entry in index.certificates:
            self._learn(entry)

    def _learn(self, entry: Entry) -> None:
        self._of[entry.chassis].append(entry)
        self._spelled[entry.chassis.lower()].add(entry.chassis)
        if entry.revoked is not None:
            self._revoked.add(entry.key_id)

    def enter(self, entries: Iterable[Entry]) -> None:
        """Enter what was signed."""
        for entry in entries:
            self._entered.append(entry)
            self._learn(entry)
            self._index = None

    @property
    def entered(self) -> int:
        """How many certificates were entered since the index was written."""
        return len(self._entered)

    @property
    def written(self) -> Index:
        """The index as it was written."""
        return self._written

    @property
    def index(self) -> Index:
        """All of it."""
        if self._index is None:
            self._index = self._written.with_certificates(self._entered)
        return self._index

    def newest(self, chassis: ChassisName) -> Entry | None:
        """The certificate of a chassis that was signed last."""
        found = self._of.get(chassis)
        return found[-1] if found else None

    def live(self, chassis: ChassisName, now: datetime) -> list[Entry]:
        """The certificates of a chassis that are neither expired nor revoked, oldest first."""
        return [entry for entry in self._of.get(chassis, ()) if alive(entry, now)]

    def twin(self, chassis: ChassisName, now: datetime) -> ChassisName | None:
        """Another name with a valid certificate that IKE daemons take for the same.

        DNS names have no case.
        """
        others = self._spelled.get(chassis.lower(), set()) - {chassis}
        found = (name for name in sorted(others) if alive(self._of[name][-1], now))
        return next(found, None)

    def revocation(self, chassis: ChassisName) -> tuple[ChassisName, datetime] | None:
        """The name under which a chassis was revoked as such, and when; None: it was not."""
        name = self._revoked_names.get(chassis.lower())
        return None if name is None else (name, self._written.revoked_names[name])

    def is_revoked(self, key_id: str) -> bool:
        """Whether a certificate for this key was revoked."""
        return key_id in self._revoked
