# SPDX-License-Identifier: Apache-2.0
"""Pure: memberships as they are seen to memberships as they count, which end only after a while.

A workload that moves, a chassis whose ovn-controller is restarted (its rows are gone for seconds)
and a job that runs every minute would otherwise change the policy of the whole cluster each time.
Whoever joins counts at once; whoever leaves counts for HOLD_S more. Nothing is kept on disk: a new
process holds from what it sees first, so every process should look, the standby ones too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ovn_ipsec.model.policy import HOLD_S
from ovn_ipsec.policy.topology import Membership

_Seen = tuple[str, str, bool]
"""Chassis, network, and whether it hosts it (or only reaches it)."""
_NONE = Membership()


class Hold:
    """What was seen, and what has gone since but still counts."""

    def __init__(self, hold_s: float = HOLD_S) -> None:
        """Start with nothing seen.

        Args:
            hold_s: Seconds that a membership outlives its last sight, not negative.
        """
        self._hold_s = hold_s
        self._seen: Mapping[str, Membership] = {}
        self._until: dict[_Seen, float] = {}
        """What has gone, and when it ends."""
        self._counting: Mapping[str, Membership] | None = None
        self._unknown = True

    def update(
        self, now: float, memberships: Mapping[str, Membership] | None
    ) -> Mapping[str, Membership] | None:
        """Take in what is seen now.

        Args:
            now: Monotonic seconds, never less than before.
            memberships: By chassis name; None when it is not known: then nothing changes.

        Returns:
            What counts, by chassis name; the same object as the last time if nothing has changed.
            None as long as nothing was ever known, which is not the same as empty.
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
        """Set how long memberships outlive their last sight, of those that end from now on."""
        self._hold_s = hold_s

    def deadline(self) -> float | None:
        """When the next membership ends, on the clock of `now`; None when none does by itself."""
        return None if self._unknown else min(self._until.values(), default=None)

    def _differing(self, memberships: Mapping[str, Membership]) -> list[str]:
        if memberships is self._seen:
            return []
        names = self._seen.keys() | memberships.keys()
        return [name for name in names if self._seen.get(name) != memberships.get(name)]

    def _note(self, chassis: str, new: Membership, now: float) -> None:
        """Start the time of what has gone, and stop that of what is back."""
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
