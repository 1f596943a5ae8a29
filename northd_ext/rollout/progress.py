# SPDX-License-Identifier: Apache-2.0
"""Pure: since when what is published applies: its phase, what the operator states, and so on.

Each wait of a rollout counts from what it is about. A generation that is caused by a chassis
changing its own rows does not restart any of them, or one chassis could prolong them for ever.
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
    """Seconds since each of these, as far as this process knows."""

    step_s: float = 0.0
    """This generation and phase."""
    phase_s: float = 0.0
    """This phase, whatever generations came in it."""
    stated_s: float = 0.0
    """This phase with what the operator states."""
    auth_s: float = 0.0
    """The last step from one authentication method to another."""
    rows_s: float = inf
    """The last change of what is published that was caused by chassis rows."""
    wall_ms: int = 0
    """Milliseconds since the epoch, from which a new generation is made."""


JUST_NOW = Elapsed()


class Progress:
    """What SB carries, and since when."""

    def __init__(self) -> None:
        self.policy: ClusterPolicy | None = None
        self._marks: dict[str, tuple[Hashable, float]] = {}
        self._rows_at = -inf

    def note(self, policy: ClusterPolicy | None, now: float) -> bool:
        """Note what SB carries; returns whether its generation or phase has changed."""
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
        """Note that chassis rows have changed what is published."""
        self._rows_at = now

    def elapsed(self, now: float, wall: datetime) -> Elapsed:
        """How long ago all of this was; zero before the first note()."""
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
