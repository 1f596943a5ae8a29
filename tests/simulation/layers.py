# SPDX-License-Identifier: Apache-2.0
"""The two layers of the guard on a simulated kernel (see controller/guard/layer.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from controller.plan.guard import GuardCounters, GuardObserved, GuardState
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.model.observation import Known, Unknown

from .kernel import Kernel


class SimLayer:
    """One layer, for the life of one controller."""

    def __init__(self, name: str, kernel: Kernel, gate: Callable[[str], None]) -> None:
        self.name, self._kernel, self._gate = name, kernel, gate

    def part_of(self, state: GuardState) -> GuardState:
        """See GuardLayer."""
        return state if self.name == "nft" else replace(state, vnis=frozenset())

    def _ask(self, call: str) -> Unknown | None:
        try:
            self._gate(f"{self.name}.{call}")
        except EdgeError as error:
            return Unknown(error.diagnostics())
        return None

    def available(self) -> Known[bool] | Unknown:
        """See GuardLayer."""
        return self._ask("available") or Known(value=True)

    def observe(self) -> Known[GuardObserved] | Unknown:
        """See GuardLayer."""
        return self._ask("observe") or Known(GuardObserved(state=self._kernel.layers[self.name]))

    def apply(self, before: GuardState | None, after: GuardState | None) -> None:
        """See GuardLayer."""
        self._gate(f"{self.name}.apply")
        held = None if after is None else self.part_of(after)
        if self._kernel.layers[self.name] != held:
            self._kernel.layers[self.name] = held
            self._kernel.changed()

    def rebuild(self, after: GuardState) -> None:
        """See GuardLayer."""
        self.apply(None, after)

    def counters(self) -> Known[GuardCounters] | Unknown:
        """See GuardLayer."""
        nothing = GuardCounters(out_denied=0, out_clear=0, in_denied=0, in_clear=0)
        return self._ask("counters") or Known(nothing)

    def close(self) -> None:
        """See GuardLayer."""
