# SPDX-License-Identifier: Apache-2.0
"""Pure: when to repair an encap that has lost its key, or whose key was changed.

A write to Encap costs every chassis a recompute (design 2). So a difference has to last for a
while, differences that come together are written together, and an encap that loses its key again
and again is repaired less and less often. This does not weaken security: the policy in SB_Global
applies whatever an Encap row says. A row that someone has put into another class is not a loss but
a claim, and repeating the claim must not gain time: such a row waits at most FOREIGN_MAX_S.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ovn_ipsec.model.policy import ClassName

from ..observe.views import SbView
from .evaluation import EncapChange

SETTLE_S = 2.0
BACK_OFF_MAX_S = 300.0
FOREIGN_MAX_S = 8.0
"""The same for a row that carries a class that we did not assign."""
FORGET_S = 600.0
"""An encap that was correct for this long starts over."""
_ROOM = 1_000
"""Encaps remembered although they no longer exist, since most of them come back."""


@dataclass(slots=True)
class _Trouble:
    delay_s: float = SETTLE_S
    since: float | None = None
    """When the difference was first seen; None while there is none."""
    foreign: bool = False
    """Whether the row carries a class that we did not assign."""
    repaired: float = 0.0

    @property
    def wait_s(self) -> float:
        """How long a difference has to last."""
        return min(self.delay_s, FOREIGN_MAX_S) if self.foreign else self.delay_s


class Settling:
    """What is known of the encaps that have needed repair."""

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}
        self._classes: dict[str, ClassName | None] | None = None
        self._room = 0

    def written_classes(self, sb: SbView) -> Mapping[str, ClassName | None]:
        """The class last written to each encap, by label; at first what SB carries."""
        if self._classes is None:
            self._classes = {
                encap.label: None if encap.class_text is None else ClassName(encap.class_text)
                for chassis in sb.chassis.values()
                for encap in chassis.encaps
                if encap.text is not None
            }
            self._room = 2 * len(self._classes) + _ROOM
        if len(self._classes) > self._room:
            present = {encap.label for chassis in sb.chassis.values() for encap in chassis.encaps}
            self._classes = {key: one for key, one in self._classes.items() if key in present}
            self._room = 2 * len(self._classes) + _ROOM
        return self._classes

    def wants_now(self, change: EncapChange) -> bool:
        """Whether the row carries what we last wrote to it, and the policy has changed since."""
        classes = self._classes or {}
        known = change.label in classes and classes[change.label] == change.had
        return known and change.class_name != change.had

    def due(self, changes: Sequence[EncapChange], now: float) -> tuple[EncapChange, ...]:
        """Changes to write now.

        Those that have settled; along with these, also those of encaps without earlier repairs.

        Changes that the policy itself asks for do not wait: nobody but us has touched the row.
        """
        fresh = tuple(change for change in changes if self.wants_now(change))
        changes = [change for change in changes if not self.wants_now(change)]
        wrong = {change.label: _is_foreign(change) for change in changes}
        for label in [key for key, t in self._troubles.items() if key not in wrong]:
            trouble = self._troubles[label]
            trouble.since = None
            if trouble.delay_s == SETTLE_S or now - trouble.repaired >= FORGET_S:
                del self._troubles[label]
        for label, foreign in wrong.items():
            trouble = self._troubles.setdefault(label, _Trouble(repaired=now))
            trouble.since = now if trouble.since is None else trouble.since
            trouble.foreign = foreign
        if not any(self._ripe(label, now) for label in wrong):
            return fresh
        settled = (
            change
            for change in changes
            if self._ripe(change.label, now) or self._troubles[change.label].delay_s == SETTLE_S
        )
        return (*fresh, *settled)

    def stated(self, changes: Sequence[EncapChange]) -> None:
        """Note what was written because the policy asks for it."""
        if self._classes is not None:
            self._classes.update((change.label, change.class_name) for change in changes)

    def repaired(self, changes: Sequence[EncapChange], now: float) -> None:
        """Note what was written; a row that someone else changed waits twice as long next time."""
        for change in changes:
            if self.wants_now(change):
                continue
            trouble = self._troubles.setdefault(change.label, _Trouble())
            limit_s = FOREIGN_MAX_S if _is_foreign(change) else BACK_OFF_MAX_S
            trouble.delay_s = max(trouble.delay_s, min(2 * trouble.delay_s, limit_s))
            trouble.since, trouble.repaired = None, now
        self.stated(changes)

    def deadline(self) -> float | None:
        """When the next change is due, on the clock of `now`; None when there is none."""
        times = [t.since + t.wait_s for t in self._troubles.values() if t.since is not None]
        return min(times, default=None)

    def _ripe(self, label: str, now: float) -> bool:
        trouble = self._troubles[label]
        return trouble.since is not None and now >= trouble.since + trouble.wait_s


def _is_foreign(change: EncapChange) -> bool:
    return change.had not in (None, change.class_name)
