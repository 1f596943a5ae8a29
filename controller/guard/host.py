# SPDX-License-Identifier: Apache-2.0
"""Shell: the guard of this host: installed first at start, kept in every pass, back after a boot.

Whatever else fails, it is installed and restored; while the wanted state is unknown, it stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import structlog

from ovn_ipsec.model.policy import Phase

from ..plan.boot import BootGuard, Start, start_guard
from ..plan.guard import ClearFlow, GuardState
from ..state_dir import State
from .keeper import GuardKeeper
from .layer import GuardLayer

_log = structlog.get_logger()

RETRY_S = 1.0
"""Until a layer that the kernel refused is tried again."""
LACKING_S = 60.0
"""The same for one that this kernel lacks, while another one holds."""


class HostGuard:
    """Both layers, their wanted state, and what is kept on disk of it for the next boot."""

    def __init__(self, layers: Sequence[GuardLayer], state: State, boot: str) -> None:
        """Build it; open() installs what must be in force first.

        Args:
            layers: nftables first.
            state: Where the boot guard is kept.
            boot: Names this boot of the machine.
        """
        self.keeper = GuardKeeper(list(layers))
        self._state = state
        self._boot = boot
        self._stored: BootGuard | None = None
        self._tried_at = float("-inf")
        self.start = Start(standing=None, closed_by=None)
        self._ordered = False
        """Whether anything has been decided; until then, what is in force stays."""
        self.available: dict[str, bool | None] = {}
        """Which layers this kernel can enforce, as of the last check."""

    @property
    def standing(self) -> GuardState | None:
        """The guard that should be in force now."""
        return self.keeper.wanted

    @property
    def held(self) -> bool:
        """Whether every layer is in its wanted state."""
        nothing = self.standing is None and not self._ordered
        return nothing or self.keeper.holds_all()

    @property
    def may_stand(self) -> bool:
        """Whether a guard is in force here, or it is not known whether there is one."""
        return self.standing is not None or self._is_blind

    def open(self) -> None:
        """Install the guard that an earlier run or an earlier boot has left."""
        self._stored = self._state.boot_guard()
        self._begin(self.keeper.found())

    def _begin(self, found: GuardState | None) -> None:
        self.start = start_guard(found, self._stored, self._boot)
        if self._stored is not None and self._stored.fault:
            _log.error("boot_guard_torn", reason=self._stored.fault, next="all tunnels are denied")
        elif found is None and self._stored is not None:
            _log.warning("boot_guard_in_force", ports=sorted(self._stored.guard.ports))
        if self.start.standing is not None:
            self.keeper.keep(self.start.standing)
        self.available = self.keeper.available()

    def retry(self, now: float) -> None:
        """Retry layers that are not in their wanted state; read those that could not be read."""
        if now < self._retry_at or (self.held and not self._is_blind):
            return
        if not self.held:
            self.keeper.keep(self.standing)
            self.available = self.keeper.available()
        self._tried_at = now
        self._adopt()

    @property
    def _retry_at(self) -> float:
        unheld = self.keeper.unheld()
        only_lacking = bool(unheld) and unheld <= self._lacking()
        return self._tried_at + (LACKING_S if only_lacking else RETRY_S)

    def _lacking(self) -> frozenset[str]:
        """Layers that this kernel lacks, if it has another one: they are tried seldom."""
        found = frozenset(name for name, able in self.available.items() if able is False)
        return found if len(found) < len(self.available) else frozenset()

    def _adopt(self) -> None:
        """Adopt what a layer holds that could not be read at start."""
        if self.standing is not None or self._ordered or not self.keeper.unread:
            return
        found = self.keeper.found()
        if found is not None:
            _log.warning("guard_found_late", ports=sorted(found.ports))
            self._begin(found)

    @property
    def _is_blind(self) -> bool:
        return self.standing is None and not self._ordered and self.keeper.blind

    def wake_at(self) -> float | None:
        """When to try again, monotonic seconds; None: everything is in order."""
        return None if self.held and not self._is_blind else self._retry_at

    def keep(
        self, wanted: GuardState | None, phase: Phase, latched: frozenset[ClearFlow], now: float
    ) -> bool:
        """Bring the guard to a state; the copy on disk first if the new state denies more.

        Args:
            wanted: What should be in force; None: nothing.
            phase: Of the policy. Only relax and off remove the boot guard.
            latched: Outgoing flows of pairs that must never be clear again.
            now: Monotonic seconds.

        Returns:
            Whether at least one layer holds it.
        """
        stored = self._for_boot(wanted, phase, latched)
        if stored is not None:
            self._store(stored)
        self._ordered = True
        if wanted != self.standing or (not self.held and now >= self._retry_at):
            spared = self._lacking() if now < self._retry_at else frozenset()
            self.keeper.keep(wanted, without=spared)
            if not spared:
                self._tried_at = now
        if stored is None:
            self._store(None)
        return self.held or self.keeper.holds()

    def deny(self, wanted: GuardState, now: float) -> None:
        """Install a guard if there is none, while it is not known what may be clear."""
        if self.keeper.wanted is None:
            self.keeper.keep(wanted)
            self._tried_at = now

    def _for_boot(
        self, wanted: GuardState | None, phase: Phase, latched: frozenset[ClearFlow]
    ) -> BootGuard | None:
        if phase in (Phase.OFF, Phase.RELAX):
            return None
        if wanted is None or (phase is Phase.PREPARE and not latched):
            return self._stored
        closed = replace(wanted, may_clear=frozenset(), vnis=frozenset())
        return BootGuard(guard=closed, latched=latched, boot=self._boot)

    def _store(self, kept: BootGuard | None) -> None:
        if kept != self._stored and self._state.keep_boot_guard(kept):
            self._stored = kept

    def audit(self) -> None:
        """Compare the kernel with the wanted state, and restore what is missing."""
        self._adopt()
        for what in self.keeper.audit():
            _log.error("guard_put_back", found=what)

    @property
    def can_enforce(self) -> bool:
        """Whether this kernel may support a layer: false if all were checked and none works."""
        return not self.available or any(able is not False for able in self.available.values())

    def flush(self) -> bool:
        """Remove the guard; returns whether it is gone."""
        return self.keeper.keep(None)
