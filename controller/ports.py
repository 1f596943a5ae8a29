# SPDX-License-Identifier: Apache-2.0
"""Shell: the tunnel ports: marked where ovn-controller owns them, made where nobody else does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from ovn_ipsec.errors import OvsdbError
from ovn_ipsec.model.observation import Known
from ovn_ipsec.model.status import PairState
from ovn_ipsec.ovsdb.session import RowChange, Session
from ovn_ipsec.schema.open_vswitch import LocalChassis, Tunnels

from . import tunnels
from .plan.agent import Agent
from .plan.tunnels import (
    Mark,
    PortPlan,
    PortSettings,
    WantedPort,
    marks,
    plan_ports,
    wanted_ports,
    who_owns,
)

_log = structlog.get_logger()

PAUSE_S = 1.0
"""Between two looks at the ports."""
ALIVE_S = 5.0
"""Between two looks whether an ovn-controller runs."""


class PortKeeper:
    """What is known of the ports between two looks."""

    def __init__(self, rundir: Path) -> None:
        """Store where ovn-controller keeps its pidfile."""
        self._rundir = rundir
        self._dirty = True
        self._look_at = float("-inf")
        self._alive_at = float("-inf")
        self._absent_since: float | None = None
        self._alive = True
        self._states: Counter[PairState] = Counter()
        self.owns = False

    def note(self, changes: Sequence[RowChange]) -> None:
        """Take in that rows of the local database changed."""
        if any(change.table in ("Bridge", "Port", "Interface") for change in changes):
            self._dirty = True

    def wake_at(self, now: float) -> float:
        """When to look again at what was put off, monotonic seconds; infinity: nothing was."""
        return max(self._look_at, now + PAUSE_S) if self._dirty else float("inf")

    def run(
        self,
        session: Session,
        agent: Agent,
        here: LocalChassis,
        sb_global: tuple[bool, Mapping[str, str]],
        now: float,
    ) -> None:
        """Look and write where something changed; at most once in PAUSE_S."""
        owned = self._decide_owner(agent, here, now)
        if agent.counts != self._states or owned != self.owns:
            self._dirty = True
        if not self._dirty or now < self._look_at or session.busy:
            return
        self._look_at = now + PAUSE_S
        self._dirty = False
        self._states = Counter(agent.counts)
        if owned != self.owns:
            _log.info("tunnel_ports", owner="ovn-ipsec-controller" if owned else "ovn-controller")
        self.owns = owned
        match tunnels.observe(session, here.bridge):
            case Known(value=seen):
                states = {record.pair: record.state for record in agent.records.values()}
                plan = None
                if owned and agent.world.get(agent.this_chassis) is not None:
                    plan = plan_ports(self._wanted(agent, here, sb_global), seen)
                self._write(session, plan, marks(seen, states))
            case _:
                self._dirty = True

    def _decide_owner(self, agent: Agent, here: LocalChassis, now: float) -> bool:
        if here.tunnels is Tunnels.ADOPT:
            return False
        if now >= self._alive_at:
            self._alive_at = now + ALIVE_S
            self._alive = tunnels.ovn_controller_alive(self._rundir)
            if self._alive:
                self._absent_since = None
            elif self._absent_since is None:
                self._absent_since = now
        since_s = 0.0 if self._absent_since is None else now - self._absent_since
        present = agent.world.get(agent.this_chassis) is not None
        return who_owns(
            here.tunnels, controller_alive=self._alive, own_row_present=present, since_s=since_s
        )

    @staticmethod
    def _wanted(
        agent: Agent, here: LocalChassis, sb_global: tuple[bool, Mapping[str, str]]
    ) -> Sequence[WantedPort]:
        this = agent.world.get(agent.this_chassis)
        types = Counter(intent.encap.type for intent in this.encaps) if this is not None else {}
        ipsec, options = sb_global
        settings = PortSettings(
            ipsec=ipsec,
            sb_options=options,
            tos=here.tos,
            df_default=here.df_default,
            several=frozenset(kind for kind, count in types.items() if count > 1),
        )
        pairs = [(record.pair, record.csum) for record in agent.records.values()]
        return wanted_ports(pairs, settings)

    def _write(self, session: Session, plan: PortPlan | None, changes: Sequence[Mark]) -> None:
        try:
            tunnels.apply(session, plan, changes)
        except OvsdbError as error:
            self._dirty = True
            _log.warning("tunnel_ports_not_written", reason=error.diagnostics())
            return
        if plan is not None and not plan.is_empty:
            _log.info(
                "tunnel_ports_written",
                created=[new.name for new in plan.create],
                repaired=[one.port.name for one in plan.repair],
                deleted=[port.name for port in plan.delete],
            )
