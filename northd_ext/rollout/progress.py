# SPDX-License-Identifier: Apache-2.0
"""Pure: since when what is published holds: its phase, what the operator states in it, and so on.

Each wait of a rollout counts from what it is about. A generation that a chassis has brought about
by a change of its own rows begins none of them anew, or one chassis could prolong them for ever.
The times are those of this process: one that takes over counts from what it sees first.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime
from math import inf

from ovn_ipsec.model.policy import ClusterPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Elapsed:
    """Seconds since each of them, as far as known here."""

    step_s: float = 0.0
    """This generation and phase."""
    phase_s: float = 0.0
    """This phase, whatever generations came in it."""
    stated_s: float = 0.0
    """This phase with what the operator states himself."""
    auth_s: float = 0.0
    """The last step from one way of authentication to another."""
    rows_s: float = inf
    """The last change that rows of chassis have made to what is published."""
    wall_ms: int = 0
    """Milliseconds since the epoch, of which a new generation is made."""


JUST_NOW = Elapsed()


class Progress:
    """What SB carries, and since when."""

    def __init__(self) -> None:
        self.policy: ClusterPolicy | None = None
        self._marks: dict[str, tuple[Hashable, float]] = {}
        self._rows_at = -inf

    def note(self, policy: ClusterPolicy | None, now: float) -> bool:
        """Take note of what SB carries; returns whether its generation or phase is another one."""
        self.policy = policy
        step = None if policy is None else (policy.generation, policy.phase)
        phase = None if policy is None else policy.phase
        said = None
        if policy is not None:
            said = (policy.default, policy.profile, policy.rules, policy.tuning)
        auth = None if policy is None else policy.auth
        changed = self._mark("step", step, now)
        self._mark("phase", phase, now)
        self._mark("stated", (phase, said), now)
        self._mark("auth", auth, now)
        return changed

    def note_rows(self, now: float) -> None:
        """Take note that rows of chassis change what is published."""
        self._rows_at = now

    def elapsed(self, now: float, wall: datetime) -> Elapsed:
        """How long ago all that was; nothing before the first note()."""
        since = {name: now - when for name, (_, when) in self._marks.items()}
        return Elapsed(
            step_s=since.get("step", 0.0),
            phase_s=since.get("phase", 0.0),
            stated_s=since.get("stated", 0.0),
            auth_s=since.get("auth", 0.0),
            rows_s=now - self._rows_at,
            wall_ms=int(wall.timestamp() * 1000),
        )

    def _mark(self, name: str, value: Hashable, now: float) -> bool:
        same = name in self._marks and self._marks[name][0] == value
        if not same:
            self._marks[name] = (value, now)
        return not same
