# SPDX-License-Identifier: Apache-2.0
"""Shell: watches and audits the kernel's IPsec tables, and checks what the kernel can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import structlog

from ovn_ipsec.errors import EdgeError
from ovn_ipsec.model.chassis import IpAddress
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import Mode, Phase

from ..guard.host import HostGuard
from ..plan.agent import Agent
from ..plan.audit import Findings, PolicyKey, Tracked, audit
from ..plan.connection import ConnName, IkeSa
from ..plan.pair.facts import NOTHING_SEEN
from ..plan.pair.record import PairRecord
from ..state_dir import State
from ..xfrm.values import XfrmPolicy, XfrmState
from .tables import KernelTables

_log = structlog.get_logger()

Reported: TypeAlias = Mapping[ConnName, tuple[IkeSa, ...]]
"""SAs of pairs, as the IKE daemon has last reported them."""
Outdated: TypeAlias = Callable[[Reported], frozenset[ConnName] | None]

AUDIT_S = 30.0
"""Between two audits of the kernel while nothing seems to have happened."""
AGAIN_S = 2.0
"""After an audit that found entries missing, or pairs that it could not compare."""
SETTLE_S = 0.3
"""After a change by something else, so that it can complete its changes first."""
ORPHAN_S = 20.0
"""How long an SA has to be without an owner before it is deleted: no answer of the IKE daemon, in
which it may have one, takes so long."""
ENDED_MAX = 100_000
"""SAs that have ended and that nobody has taken."""
NO_ESP = "this kernel cannot do ESP: nothing can be encrypted (is module esp4 or esp6 blacklisted?)"


class KernelWatch:
    """What was last seen of the kernel's tables, and when to audit them again."""

    def __init__(self, tables: KernelTables, guard: HostGuard, state: State) -> None:
        self._tables = tables
        self._guard = guard
        self._state = state
        self._due = float("-inf")
        self._suspects: dict[tuple[IpAddress, int], float] = {}
        """Since when SAs have been without an owner, by destination and SPI."""
        self.foreign: frozenset[PolicyKey] | None = None
        """Outgoing traffic for which another program has ESP policies; None: not known."""
        self._known: Agent | None = None
        """The agent whose pairs were audited before they were decided."""
        self.problem = ""
        self.esp: bool | None = None
        """Whether this kernel can do ESP for the addresses of this chassis; None: not known."""
        self.states: tuple[XfrmState, ...] | None = None
        """The SAD as of an audit that nobody has taken yet."""
        self._ended: list[XfrmState] = []
        self._asked: tuple[int, frozenset[int]] = (0, frozenset())
        """For which ``prepare`` and IP versions this was last tested: modules come and go."""

    def open(self) -> None:
        """Subscribe to events; without them, only the audits find changes."""
        self._tables.open()

    def close(self) -> None:
        """Release the sockets."""
        self._tables.close()

    def filenos(self) -> list[int]:
        """Descriptors that are readable when something changed."""
        return self._tables.filenos()

    def hurry(self, now: float) -> None:
        """Audit soon."""
        self._due = min(self._due, now + SETTLE_S)

    def wake_at(self) -> float:
        """When the next audit is due, monotonic seconds."""
        return self._due

    def look(self, agent: Agent | None, now: float, outdated: Outdated | None) -> None:
        """Process events; audit when it is time, and before the first decisions of an agent.

        Args:
            agent: Its pairs are audited; None: there is none yet.
            now: Monotonic seconds.
            outdated: Gives pairs whose SAs have changed since the IKE daemon reported them; None
                for all. It is asked after the kernel, and given those of which the kernel seems to
                lack something. None: the daemon does not report what it holds.
        """
        events = self._tables.drain()
        if len(self._ended) < ENDED_MAX:
            self._ended.extend(events.ended)
        if events.guard_touched or events.flushed:
            self._guard.audit()
            self.hurry(now)
        elif events.deleted and outdated is None:
            self.hurry(now)
        is_new = agent is not None and agent is not self._known and agent.has_intents
        is_due = now >= self._due or is_new
        self._known = agent if is_new else self._known
        if agent is not None:
            self._ask_esp(agent, again=is_due and not self.esp)
        if is_due:
            self._due = now + AUDIT_S
            self._guard.audit()
            self._audit_pairs(agent, now, outdated)

    def dump(self) -> tuple[tuple[XfrmPolicy, ...], tuple[XfrmState, ...]]:
        """Read the SPD and the SAD.

        Raises:
            EdgeError: The kernel did not answer.
        """
        return self._tables.dump()

    def take(self) -> tuple[tuple[XfrmState, ...], tuple[XfrmState, ...] | None]:
        """Take SAs that have ended since the last call, and the SAD if there was an audit since."""
        found = tuple(self._ended), self.states
        self._ended, self.states = [], None
        return found

    def _ask_esp(self, agent: Agent, *, again: bool) -> None:
        this, prepared = agent.world.get(agent.this_chassis), self._asked[0]
        if agent.policy.phase is Phase.PREPARE:
            prepared = agent.policy.generation
        versions = frozenset(() if this is None else (i.encap.ip.version for i in this.encaps))
        if not versions or ((prepared, versions) == self._asked and not again):
            return
        before = self.esp if (prepared, versions) == self._asked else None
        self._asked, self.esp = (prepared, versions), None
        match self._tables.esp(versions):
            case Known(value=able):
                self.esp = able
            case Unknown():
                self.esp = None
        if self.esp is False and before is None:
            _log.error("esp_missing", reason=NO_ESP)

    def _audit_pairs(self, agent: Agent | None, now: float, outdated: Outdated | None) -> None:
        try:
            policies, states = self.dump()
        except EdgeError as error:
            if self.problem != error.diagnostics():
                _log.error("kernel_unreadable", reason=error.diagnostics())
            self.problem = error.diagnostics()
            self.foreign = None
            return
        self.problem = ""
        self.states = states
        for reqid in sorted({state.reqid for state in states}):
            self._state.note_used(reqid)
        tracked = {} if agent is None else _tracked(agent, now)
        own = self._state.own_reqids()
        own = own if agent is None else agent.own_reqids(own)
        if agent is not None and agent.abilities.delegated:
            # Nothing there is ours, and what is seen of each pair is from there already.
            tracked, own = {}, ()
        found = audit(tracked, policies, states, own)
        self.foreign = found.foreign
        if agent is not None:
            self._judge(agent, tracked, found, now, outdated)

    def _judge(
        self,
        agent: Agent,
        tracked: dict[ConnName, Tracked],
        found: Findings,
        now: float,
        outdated: Outdated | None,
    ) -> None:
        """Compare what the kernel holds with what the IKE daemon has reported, pair by pair."""
        suspects = {name: tracked[name].seen.sas for name in found.missing}
        asked = frozenset[ConnName]() if outdated is None else outdated(suspects)
        moved = frozenset(tracked) if asked is None else asked
        if moved:
            self._due = now + AGAIN_S
        for name, one in tracked.items():
            if name in moved:
                continue
            missing = frozenset() if outdated is None else found.missing.get(name, frozenset())
            if missing and not one.seen.missing:
                _log.error("kernel_entries_missing", connection=name, children=sorted(missing))
            if missing:
                self._due = now + AGAIN_S
            orphaned = name in found.orphaned
            agent.put_seen(name, replace(one.seen, missing=missing, orphaned=orphaned))
        # What is left of a pair that should be clear is deleted when that begins.
        begins = (one.send_from for one in agent.records.values() if _is_off(one))
        self._due = min((self._due, *(at for at in begins if now < at)))
        if outdated is not None:
            self._drop_leftovers(found.leftovers)
            moving = {reqid for name in moved & tracked.keys() for reqid in tracked[name].reqids}
            orphans = tuple(one for one in found.orphans if one.reqid not in moving)
            self._drop_orphans(orphans, now)

    def _drop_leftovers(self, leftovers: tuple[XfrmPolicy, ...]) -> None:
        """Delete policies left by a killed IKE daemon for pairs that are off."""
        if not leftovers:
            return
        try:
            self._tables.delete_policies(leftovers)
            _log.info("orphan_policies_removed", count=len(leftovers))
        except EdgeError as error:
            _log.warning("orphan_policies_kept", reason=error.diagnostics())

    def _drop_orphans(self, orphans: tuple[XfrmState, ...], now: float) -> None:
        """Delete SAs that every audit for a while has found without an owner.

        What is seen of the IKE daemon may be seconds old while it rekeys many at once, and audits
        may follow one another quickly.
        """
        before = self._suspects
        self._suspects = {(s.dst, s.spi): before.get((s.dst, s.spi), now) for s in orphans}
        confirmed = [s for s in orphans if now - self._suspects[s.dst, s.spi] >= ORPHAN_S]
        if not confirmed:
            return
        try:
            self._tables.delete_states(confirmed)
            _log.info("orphan_sas_removed", count=len(confirmed))
        except EdgeError as error:
            _log.warning("orphan_sas_kept", reason=error.diagnostics())


def _is_off(record: PairRecord) -> bool:
    return record.mode is Mode.OFF and record.gone_at is None and not record.quarantined


def _tracked(agent: Agent, now: float) -> dict[ConnName, Tracked]:
    tracked = {
        name: Tracked(
            pair=record.pair,
            reqids=agent.reqids[name],
            seen=agent.seen.get(name, NOTHING_SEEN),
            off=_is_off(record) and now >= record.send_from,
        )
        for name, record in agent.records.items()
        if name in agent.reqids
    }
    # What an earlier run has left is known before the first decision.
    for name, intent in agent.undecided_intents():
        if name in agent.reqids:
            seen = agent.seen.get(name, NOTHING_SEEN)
            tracked[name] = Tracked(pair=intent.pair, reqids=agent.reqids[name], seen=seen)
    return tracked
