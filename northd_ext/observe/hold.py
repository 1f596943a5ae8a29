# SPDX-License-Identifier: Apache-2.0
"""Pure: from memberships as seen to memberships as they count, which end only after a while.

A workload that moves, a chassis whose ovn-controller is restarted (its rows are gone for seconds)
and a job that runs every minute would otherwise change the policy of the whole cluster each time.
A new member counts at once; a departed one still counts for HOLD_S. Nothing is kept on disk: a new
process starts with what it sees first, so every process should observe, including standby ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ovn_ipsec.model.policy import HOLD_S
from ovn_ipsec.policy.topology import Membership

_Seen = tuple[str, str, bool]
"""Chassis, network, and whether the chassis hosts it (or only reaches it)."""
_NONE = Membership()


class Hold:
    """Memberships as seen, and those that have ended but still count."""

    def __init__(self, hold_s: float = HOLD_S) -> None:
        """Start with nothing seen.

        Args:
            hold_s: Seconds for which a membership still counts after it was last seen, >= 0.
        """
        self._hold_s = hold_s
        self._seen: Mapping[str, Membership] = {}
        self._until: dict[_Seen, float] = {}
        """Memberships that have ended, with the time until which they count."""
        self._counting: Mapping[str, Membership] | None = None
        self._unknown = True

    def update(
        self, now: float, memberships: Mapping[str, Membership] | None
    ) -> Mapping[str, Membership] | None:
        """Update to the current state.

        Args:
            now: Monotonic seconds, never less than before.
            memberships: By chassis name; None if they are not known: then nothing changes.

        Returns:
            The memberships that count, by chassis name; the same object if nothing has changed.
            None while nothing was ever known, which is not the same as empty.
        """
        self._unknown = memberships is None
        if memberships is None:
            return self._counting
        draft = dict(self._counting or {})
        for chassis in self._differing(memberships):
            self._note(chassis, memberships.get(chassis, _NONE), now)
            _add(draft, chassis, memberships.get(chassis, _NONE))
        self._seen = memberships
        for chassis, network, hosts in self._expired(now):
            _remove(draft, chassis, network, hosts)
        if draft != self._counting:
            self._counting = MappingProxyType(draft)
        return self._counting

    def last(self, hold_s: float) -> None:
        """Set for how long memberships that end from now on still count."""
        self._hold_s = hold_s

    def deadline(self) -> float | None:
        """When the next membership ends, on the clock of `now`; None if none is due to end."""
        return None if self._unknown else min(self._until.values(), default=None)

    def _differing(self, memberships: Mapping[str, Membership]) -> list[str]:
        if memberships is self._seen:
            return []
        names = self._seen.keys() | memberships.keys()
        return [name for name in names if self._seen.get(name) != memberships.get(name)]

    def _note(self, chassis: str, new: Membership, now: float) -> None:
        """Start the hold of what has ended, and stop that of what is back."""
        old = self._seen.get(chassis, _NONE)
        pairs = ((old.hosts, new.hosts, True), (old.reaches, new.reaches, False))
        for before, after, hosts in pairs:
            for network in after - before:
                self._until.pop((chassis, network, hosts), None)
            for network in before - after:
                self._until[chassis, network, hosts] = now + self._hold_s

    def _expired(self, now: float) -> Iterator[_Seen]:
        for key in [key for key, until in self._until.items() if now >= until]:
            del self._until[key]
            yield key


def _add(draft: dict[str, Membership], chassis: str, new: Membership) -> None:
    had = draft.get(chassis, _NONE)
    draft[chassis] = Membership(hosts=had.hosts | new.hosts, reaches=had.reaches | new.reaches)


def _remove(draft: dict[str, Membership], chassis: str, network: str, hosts: bool) -> None:
    had, gone = draft.pop(chassis), frozenset([network])
    left = Membership(
        hosts=had.hosts - gone if hosts else had.hosts,
        reaches=had.reaches if hosts else had.reaches - gone,
    )
    if left != _NONE:
        draft[chassis] = left
