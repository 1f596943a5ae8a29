# SPDX-License-Identifier: Apache-2.0
"""Shell: the kernel's IPsec tables watched and audited, and the guard kept against all comers."""

from __future__ import annotations

from dataclasses import replace

import structlog

from ovn_ipsec.errors import EdgeError
from ovn_ipsec.model.policy import Mode

from .guard.keeper import GuardKeeper
from .guard.nft_events import NftEvents
from .plan.agent import Agent, guard_remembers
from .plan.audit import PolicyKey, Tracked, audit, is_protected
from .plan.guard import GuardState
from .plan.record import NOTHING_SEEN, PairRecord
from .state_dir import StateDir
from .xfrm import messages
from .xfrm.socket import XfrmEventSocket, XfrmSocket
from .xfrm.values import XfrmPolicy, XfrmState

_log = structlog.get_logger()

AUDIT_S = 30.0
"""Between two full looks at the kernel when nothing seems to have happened."""
SETTLE_S = 0.3
"""After a change by somebody else, so that its author is done."""


class KernelWatch:
    """Event sockets and dumps of the kernel's tables."""

    def __init__(self, guard: GuardKeeper, state: StateDir) -> None:
        """Store what is kept in order."""
        self._guard = guard
        self._state = state
        self._xfrm = XfrmSocket()
        self._xfrm_events = XfrmEventSocket()
        self._nft_events = NftEvents()
        self._due = float("-inf")
        self._suspects: frozenset[tuple[object, int]] = frozenset()
        self._foreign: frozenset[PolicyKey] | None = None
        """None: not known."""
        self.problem = ""

    def open(self) -> None:
        """Open the sockets; a kernel without one of them is audited by time alone."""
        for events in (self._xfrm_events, self._nft_events):
            try:
                events.open()
            except (EdgeError, OSError) as error:
                _log.warning("kernel_events_missing", reason=str(error))
        try:
            self._xfrm.open()
        except (EdgeError, OSError) as error:
            self.problem = str(error)

    def filenos(self) -> list[int]:
        """Descriptors that are readable when something changed."""
        numbers = [self._xfrm_events.fileno(), self._nft_events.fileno()]
        return [number for number in numbers if number >= 0]

    def hurry(self, now: float) -> None:
        """Look soon."""
        self._due = min(self._due, now + SETTLE_S)

    def wake_at(self) -> float:
        """When the next look is due, monotonic seconds."""
        return self._due

    def run(self, agent: Agent, now: float, *, daemon_ready: bool) -> None:
        """Take in events; look when it is time."""
        changed = self._xfrm_events.drain(own_ports=frozenset({self._xfrm.port_id}))
        touched = self._nft_events.drain()
        if touched or changed.policies_flushed or changed.sa_flushed:
            self._audit_guard()
            self.hurry(now)
        elif (changed.policy_deleted or changed.sa_deleted) and not daemon_ready:
            self.hurry(now)
        if now >= self._due:
            self._due = now + AUDIT_S
            self._audit_guard()
            self._audit_pairs(agent, now, daemon_ready=daemon_ready)

    def was_closed(self, guard: GuardState | None, record: PairRecord) -> bool:
        """Whether a pair did not send clear text before this program started.

        The guard that it found says so, or the policies that a stock ovs-monitor-ipsec has left
        behind: our guard would go before those where it lets clear text pass.

        Args:
            guard: What was found at start; None: nothing.
            record: Of the pair, new.
        """
        if guard_remembers(guard, record):
            return True
        if record.mode is Mode.OFF:
            return False
        return self._foreign is None or is_protected(self._foreign, record.pair)

    def _audit_guard(self) -> None:
        for what in self._guard.audit():
            _log.error("guard_put_back", found=what)

    def dump(self) -> tuple[tuple[XfrmPolicy, ...], tuple[XfrmState, ...]]:
        """Read both tables.

        Raises:
            EdgeError: The kernel did not answer.
        """
        return self._xfrm.dump_policies(), self._xfrm.dump_states()

    def _audit_pairs(self, agent: Agent, now: float, *, daemon_ready: bool) -> None:
        try:
            policies, states = self.dump()
        except EdgeError as error:
            self.problem = error.diagnostics()
            self._foreign = None
            return
        self.problem = ""
        tracked = {
            name: Tracked(
                pair=record.pair,
                reqids=self._state.reqids(name),
                seen=agent.seen.get(name, NOTHING_SEEN),
            )
            for name, record in agent.records.items()
        }
        found = audit(tracked, policies, states, self._state.all_reqids())
        self._foreign = found.foreign
        for name, one in tracked.items():
            missing = found.missing.get(name, frozenset()) if daemon_ready else frozenset()
            if missing and not one.seen.missing:
                _log.error("kernel_entries_missing", connection=name, children=sorted(missing))
                self._due = now + 2.0
            orphaned = name in found.orphaned
            agent.put_seen(name, replace(one.seen, missing=missing, orphaned=orphaned))
        if daemon_ready:
            self._drop_orphans(found.orphans)

    def _drop_orphans(self, orphans: tuple[XfrmState, ...]) -> None:
        """Delete SAs that two looks in a row found without an owner: one look may be too early."""
        keys = frozenset((state.dst, state.spi) for state in orphans)
        confirmed = [s for s in orphans if (s.dst, s.spi) in self._suspects]
        self._suspects = keys
        if not confirmed:
            return
        try:
            self._xfrm.send(messages.delete_state(state) for state in confirmed)
            _log.info("orphan_sas_removed", count=len(confirmed))
        except EdgeError as error:
            _log.warning("orphan_sas_kept", reason=error.diagnostics())
