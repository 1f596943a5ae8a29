# SPDX-License-Identifier: Apache-2.0
"""Shell: what is logged of policies, phases, states and refusals, each once."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import ClusterPolicy
from ovn_ipsec.schema.report import printable

from .bounds.refusals import Refusals
from .observe.views import DEGRADED
from .policy.evaluation import EncapChange
from .rollout.phases import Event

TELL_EVERY_S = 10.0
"""Minimum time between two lines about a state that becomes degraded or stops being so."""
_TEXT_MAX = 80


class Journal:
    """What has been logged."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()
        self._refusals = Refusals()
        self._decided: ClusterPolicy | None = None
        self._told = float("-inf")

    def written(
        self, policy: ClusterPolicy, event: Event | None, changes: tuple[EncapChange, ...]
    ) -> None:
        """Log what this process has written to SB, and why."""
        if event is None:
            self._log.info("encaps_written", encaps=len(changes), first=changes[0].label)
            return
        self._decided = policy
        self._log.info(
            "policy",
            why=str(event),
            generation=policy.generation,
            phase=str(policy.phase),
            mode=str(policy.default),
            rules=len(policy.rules),
            encaps=len(changes),
        )

    def reached(self, policy: ClusterPolicy, role: str) -> None:
        """Log what SB carries, unless this process has logged that it wrote exactly that."""
        if policy != self._decided:
            phase = str(policy.phase)
            self._log.info("phase", generation=policy.generation, phase=phase, role=role)

    def state(self, old: str, new: str, now: float) -> None:
        """Log the state that NB shows from now on."""
        moved = old.removesuffix(DEGRADED) != new.removesuffix(DEGRADED)
        if moved or (old != new and now >= self._told + TELL_EVERY_S):
            self._told = now
            self._log.info("state", **{"from": old, "to": new})

    def refused(self, found: Iterable[InputError], now: float) -> float | None:
        """Log which refusals are new, limited for each chassis.

        Returns:
            When there is something to log that had to wait, on the clock of `now`.
        """
        for error, more in self._refusals.due(found, now):
            counted = {"more": more} if more else {}
            self._log.warning(
                "refused",
                table=error.table,
                row=printable(error.row, _TEXT_MAX),
                key=printable(error.key, _TEXT_MAX),
                text=printable(error.text, _TEXT_MAX),
                reason=printable(error.reason, 4 * _TEXT_MAX),
                **counted,
            )
        return self._refusals.deadline()
