# SPDX-License-Identifier: Apache-2.0
"""Shell: which policy is obeyed, across restarts: a missing or an older one is not an order."""

from __future__ import annotations

import structlog

from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import NO_POLICY, ClusterPolicy

from .plan.cluster.regress import mark, refuse_regress
from .southbound import SILENT
from .state_dir import State

_log = structlog.get_logger()

RETRY_S = 1.0
"""Between two attempts to store a policy on disk."""


class Obedience:
    """What was last obeyed, and why what is stated now is not."""

    def __init__(self, state: State) -> None:
        """Read what an earlier run has obeyed."""
        self._state = state
        self._obeyed: ClusterPolicy | None = state.policy()
        self._stored = self._obeyed
        self._store_at = float("-inf")
        self.held_because = ""
        """Why what is in force is kept, whatever the southbound says; empty if it is obeyed."""

    def admit(
        self, stated: Known[ClusterPolicy] | Unknown, *, guarded: bool
    ) -> ClusterPolicy | None:
        """The policy to obey; None if there is none: then what applied before still applies.

        Args:
            stated: What the southbound says.
            guarded: Whether a guard is in force on this host.
        """
        before, why, policy = self.held_because, "", None
        # Encryption was never asked for here: no policy was obeyed, and no guard is in force.
        untouched = self._obeyed is None and not guarded
        match stated:
            case Known(value=offered):
                refused = refuse_regress(self._obeyed, offered)
                why = "" if refused is None else refused.diagnostics()
                policy = offered if refused is None else None
            case Unknown(reason=reason) if reason == SILENT and untouched:
                policy = NO_POLICY
            case Unknown(reason=reason):
                why = reason
        self.held_because = why
        if why and why != before:
            _log.error("policy_held", reason=why)
        elif before and not why:
            _log.info("policy_obeyed_again")
        return policy

    def note(self, policy: ClusterPolicy) -> None:
        """Note that a policy is obeyed."""
        if policy is not NO_POLICY:
            self._obeyed = mark(self._obeyed, policy)

    def store(self, now: float) -> None:
        """Store on disk what is obeyed, so that no older policy weakens it."""
        if self._obeyed != self._stored and now >= self._store_at:
            self._store_at = now + RETRY_S
            if self._state.keep_policy(self._obeyed):
                self._stored = self._obeyed

    def wake_at(self) -> float | None:
        """When to try again to store it, monotonic seconds; None: it is stored."""
        return self._store_at if self._obeyed != self._stored else None
