# SPDX-License-Identifier: Apache-2.0
"""Pure: which refusals are logged, so that no chassis can fill the log.

What the operator has written is logged whenever it is new. Each chassis may cause a few lines at
once, then one every minute, whatever it writes and however often; what is left out is counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from ovn_ipsec.errors import InputError
from ovn_ipsec.schema import encap, report

from .bucket import Bucket

BURST = 3
EVERY_S = 60.0
_BY_CHASSIS = frozenset({"Chassis", encap.TABLE, report.TABLE})


class Said(NamedTuple):
    """A line to log."""

    error: InputError
    more: int
    """How many others of the same chassis are not logged."""


class Refusals:
    """Which of the current refusals have been logged."""

    def __init__(self) -> None:
        self._said: frozenset[str] = frozenset()
        self._buckets: dict[str, Bucket] = {}
        self._waiting: set[str] = set()

    def due(self, found: Iterable[InputError], now: float) -> list[Said]:
        """Process all current refusals; returns those to log, ordered by text.

        Args:
            found: All of them, not only new ones.
            now: Monotonic seconds.
        """
        errors = {str(error): error for error in found}
        said = self._said & errors.keys()
        lines: list[Said] = []
        news: defaultdict[str, list[str]] = defaultdict(list)
        for text in sorted(errors.keys() - said):
            error = errors[text]
            if error.table in _BY_CHASSIS:
                news[error.row.partition("/")[0]].append(text)
            else:
                lines.append(Said(error, 0))
                said |= {text}
        self._waiting = set()
        for writer, texts in news.items():
            if self._buckets.setdefault(writer, Bucket(BURST, EVERY_S)).take(now):
                lines.append(Said(errors[texts[0]], len(texts) - 1))
                said |= set(texts)
            else:
                self._waiting.add(writer)
        self._said = said
        self._buckets = {
            writer: bucket for writer, bucket in self._buckets.items() if not bucket.is_full(now)
        }
        return lines

    def deadline(self) -> float | None:
        """When something can be logged that had to wait, on the clock of `now`."""
        return min((self._buckets[name].ready_at() for name in self._waiting), default=None)
