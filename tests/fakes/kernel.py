# SPDX-License-Identifier: Apache-2.0
"""A guard layer that holds its state in memory and fails on request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from controller.plan.guard import GuardCounters, GuardObserved, GuardState
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.model.observation import Known, Unknown

Operation: TypeAlias = Literal["available", "observe", "apply", "rebuild", "counters"]

NO_PACKETS = GuardCounters(out_denied=0, out_clear=0, in_denied=0, in_clear=0)


@dataclass
class FakeGuardLayer:
    """The kernel's part of one layer."""

    name: str = "fake"
    state: GuardState | None = None
    damage: tuple[str, ...] = ()
    sees_vnis: bool = True
    packets: GuardCounters = NO_PACKETS
    calls: list[Operation] = field(default_factory=list)
    history: list[GuardState | None] = field(default_factory=list)
    """Every state that was in force after a change."""
    watch: Callable[[], None] = lambda: None
    """Called after every change."""
    failures: dict[Operation, EdgeError] = field(default_factory=dict)

    def fail_next(self, op: Operation, error: EdgeError) -> None:
        """Let the next call of one operation fail, without effect."""
        self.failures[op] = error

    def flush(self) -> None:
        """Lose everything, as when somebody flushes the kernel's tables."""
        self.state, self.damage = None, ()

    def part_of(self, state: GuardState) -> GuardState:
        """See GuardLayer."""
        return state if self.sees_vnis else replace(state, vnis=frozenset())

    def available(self) -> Known[bool] | Unknown:
        """See GuardLayer."""
        return self._failed("available") or Known(value=True)

    def observe(self) -> Known[GuardObserved] | Unknown:
        """See GuardLayer."""
        return self._failed("observe") or Known(GuardObserved(state=self.state, damage=self.damage))

    def apply(self, before: GuardState | None, after: GuardState | None) -> None:
        """See GuardLayer."""
        self._raise("apply")
        self._hold(after)

    def rebuild(self, after: GuardState) -> None:
        """See GuardLayer."""
        self._raise("rebuild")
        self.damage = ()
        self._hold(after)

    def counters(self) -> Known[GuardCounters] | Unknown:
        """See GuardLayer."""
        return self._failed("counters") or Known(self.packets)

    def close(self) -> None:
        """See GuardLayer."""

    def _hold(self, state: GuardState | None) -> None:
        self.state = None if state is None else self.part_of(state)
        self.history.append(state)
        self.watch()

    def _failed(self, op: Operation) -> Unknown | None:
        self.calls.append(op)
        error = self.failures.pop(op, None)
        return Unknown(error.diagnostics()) if error else None

    def _raise(self, op: Operation) -> None:
        self.calls.append(op)
        if error := self.failures.pop(op, None):
            raise error
