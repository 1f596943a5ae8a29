# SPDX-License-Identifier: Apache-2.0
"""Shell: the tunnel ports: marked if ovn-controller owns them, made if nobody else does.

Everything that a plan for the ports of one peer depends on is compared in each pass: the pairs with
that peer and how they are marked, its ports, and what goes into all ports (settings, our own
encaps, the owner). Only peers for which something changed are planned again, each at its own pace,
so that what one chassis does to its rows costs no other chassis anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from ovn_ipsec.errors import OvsdbError
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import Auth
from ovn_ipsec.ovsdb.session import RowChange, Session
from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.schema.open_vswitch import LocalChassis, Tunnels

from ..plan.agent import Agent
from ..plan.connection import ConnName
from ..plan.pair.record import PairRecord
from ..plan.ports.delegated import REMOTE_CERT, PinPaths, delegated_ports
from ..plan.ports.liveness import Life, Verdict, judge, who_owns
from ..plan.ports.pace import PeerPace
from ..plan.ports.tunnels import (
    LocalSettings,
    Mark,
    PortPlan,
    PortSettings,
    SeenPorts,
    TunnelPort,
    WantedPort,
    marks,
    plan_ports,
    wanted_ports,
)
from . import liveness, ovsdb
from .pin_files import FOLDER, PinFiles

_log = structlog.get_logger()

SbGlobal = tuple[bool, Mapping[str, str]]
"""SB_Global.ipsec and SB_Global.options."""

PAUSE_S = 1.0
"""Between two looks at the ports."""
LIFE_S = 5.0
"""Between two looks whether an ovn-controller runs."""
NEVER = float("inf")
_NOT_SEEN = Verdict(life=Life.UNKNOWN, reason="not checked yet")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What the plans of all ports depend on; another one means all peers again."""

    settings: PortSettings | None
    """None: ports are not touched, by right or for want of knowledge."""
    bridge: str
    index: str


class Owner:
    """Whose the ports are: what is known of ovn-controller, and since when."""

    def __init__(self, rundir: Path) -> None:
        """Store where ovn-controller keeps its pidfile."""
        self._rundir = rundir
        self._dead_since: float | None = None
        self.verdict = _NOT_SEEN
        self.look_at = float("-inf")

    def look(self, local: LocalSettings, now: float) -> None:
        """Look for an ovn-controller when it is time."""
        if now < self.look_at:
            return
        self.look_at = now + LIFE_S
        signs = replace(liveness.look(self._rundir), bridge_remote=local.bridge_remote)
        before, self.verdict = self.verdict, judge(signs)
        if self.verdict != before:
            _log.info("ovn_controller", life=self.verdict.life.value, reason=self.verdict.reason)
        if self.verdict.life is not Life.DEAD:
            self._dead_since = None
        elif self._dead_since is None:
            self._dead_since = now

    def owns(self, setting: Tunnels, *, own_row_present: bool, now: float) -> bool:
        """Whether the ports are ours."""
        since = self._dead_since
        return who_owns(
            setting,
            life=self.verdict.life,
            own_row_present=own_row_present,
            dead_for_s=0.0 if since is None else now - since,
        )


class PortKeeper:
    """What is known of the ports between two looks."""

    def __init__(self, rundir: Path, pins: Path = FOLDER) -> None:
        """Store where things are.

        Args:
            rundir: ovn-controller keeps its pidfile there.
            pins: For certificates of peers that ovs-monitor-ipsec is to read.
        """
        self._owner = Owner(rundir)
        self._pin_files = PinFiles(pins)
        self._pins: dict[str, tuple[bytes, ...]] | None = None
        """Certificates by peer, where ports name them."""
        self._untidy = False
        """Whether there may be files that no port needs any more."""
        self._local = ovsdb.LocalPorts()
        self._pace = PeerPace()
        self._mark_pace = PeerPace()
        self._agent: Agent | None = None
        self._records: dict[ConnName, PairRecord] = {}
        self._by_peer: dict[str, dict[ConnName, PairRecord]] = {}
        self._shared = _Shared(settings=None, bridge="", index="")
        self._settings: LocalSettings | None = None
        self._due: set[str] = set()
        self._sent: frozenset[str] = frozenset()
        self._look_at = float("-inf")
        self._wake_at = NEVER
        self.owns = False
        self.makes_row = False
        """Whether this chassis has nobody else who would make its Chassis_Private row."""
        self.doubt = ""
        """Why it cannot be told whose the ports are; empty when it can, or need not be."""

    def note(self, changes: Sequence[RowChange]) -> None:
        """Take in that rows of the local database changed."""
        if any(change.table == "Open_vSwitch" for change in changes):
            self._settings = None
        if self._local.note(changes):
            self._wake_at = self._look_at

    def wake_at(self, now: float) -> float:
        """When to look again at what was put off, monotonic seconds; infinity: nothing was."""
        return max(self._wake_at, now)

    def reconcile(
        self,
        session: Session,
        agent: Agent,
        here: LocalChassis,
        sb_global: SbGlobal | None,
        now: float,
    ) -> None:
        """Look and write where something changed; at most once in PAUSE_S.

        Args:
            session: On the local database.
            agent: Whose pairs the ports are for.
            here: This chassis.
            sb_global: None while it is not known: nothing is touched then.
            now: Monotonic seconds.
        """
        if self._settings is None or agent is not self._agent:
            self._settings = ovsdb.local_settings(session, agent.this_chassis)
        local = self._settings
        self._decide_owner(agent, here, local, now)
        if sb_global is None:
            # Nothing is known of any pair, and what becomes known of it wakes.
            self._wake_at = self._life_at(here)
            return
        if now < self._look_at:
            # Something may have changed since: one more look, and none after it for its own sake.
            self._wake_at = self._look_at
            return
        if session.busy:
            # Its answer wakes.
            self._wake_at = self._life_at(here)
            return
        self._look_at, self._wake_at = now + PAUSE_S, self._life_at(here)
        self._take_answer(session)
        match self._local.refresh(session, here.bridge):
            case Known(value=changed):
                self._due |= changed
            case Unknown():
                # Whatever ends that is a change of rows or of the connection, which wakes.
                return
        self._compare_pairs(agent)
        self._compare_pins(agent)
        self._compare_shared(agent, here, local, sb_global)
        self._write(session, agent, now)
        self._tidy_pins()

    # --- whose they are --------------------------------------------------------------------------

    def _decide_owner(
        self, agent: Agent, here: LocalChassis, local: LocalSettings, now: float
    ) -> None:
        present = agent.world.get(agent.this_chassis) is not None
        if here.tunnels is not Tunnels.ADOPT:
            self._owner.look(local, now)
        verdict = self._owner.verdict
        owns = self._owner.owns(here.tunnels, own_row_present=present, now=now)
        if owns != self.owns:
            owner = "ovn-ipsec-controller" if owns else "ovn-controller"
            _log.info("tunnel_ports", owner=owner)
        self.owns = owns
        self.makes_row = owns and verdict.life is not Life.ALIVE
        unclear = here.tunnels is Tunnels.AUTO and verdict.life is Life.UNKNOWN
        self.doubt = f"whether ovn-controller runs: {verdict.reason}" if unclear else ""

    def _life_at(self, here: LocalChassis) -> float:
        """When to look for ovn-controller if nothing else wakes: later than any pass would."""
        return NEVER if here.tunnels is Tunnels.ADOPT else self._owner.look_at + LIFE_S

    # --- what is new -----------------------------------------------------------------------------

    def _compare_pairs(self, agent: Agent) -> None:
        if agent is not self._agent:
            self._agent, self._records = agent, {}
            self._due |= self._by_peer.keys()
            self._by_peer = {}
        before, self._records = self._records, dict(agent.records)
        gone = before.keys() - self._records.keys()
        for name in gone:
            self._forget(name, before[name])
        for name, record in self._records.items():
            old = before.get(name)
            if old is record:
                continue
            if old is not None and old.pair.peer != record.pair.peer:
                self._forget(name, old)
            self._by_peer.setdefault(record.pair.peer, {})[name] = record
            if old is None or _facts(old) != _facts(record):
                self._due.add(record.pair.peer)

    def _forget(self, name: ConnName, record: PairRecord) -> None:
        peer = record.pair.peer
        self._due.add(peer)
        self._by_peer[peer].pop(name, None)
        if not self._by_peer[peer]:
            del self._by_peer[peer]

    def _compare_pins(self, agent: Agent) -> None:
        """What a port names where ovs-monitor-ipsec goes by it: a chassis, or its certificate."""
        before, self._pins = self._pins, None
        if agent.abilities.delegated and agent.policy.auth[:1] == (Auth.PINNED,):
            self._pins = {peer: agent.configs.pins_of(peer) for peer in self._by_peer}
        if before == self._pins:
            return
        self._untidy = True
        if before is None or self._pins is None:
            self._due |= self._by_peer.keys()
        else:
            news = (peer for peer, pins in self._pins.items() if before.get(peer) != pins)
            self._due.update(news)

    def _compare_shared(
        self, agent: Agent, here: LocalChassis, local: LocalSettings, sb_global: SbGlobal
    ) -> None:
        this = agent.world.get(agent.this_chassis)
        settings = None
        if self.owns and this is not None:
            types = Counter(intent.encap.type for intent in this.encaps)
            ipsec, options = sb_global
            settings = PortSettings(
                ipsec=ipsec,
                sb_options=options,
                tos=here.tos,
                df_default=here.df_default,
                set_local_ip=local.set_local_ip,
                several=frozenset(kind for kind, count in types.items() if count > 1),
            )
        shared = _Shared(settings=settings, bridge=here.bridge, index=local.index)
        if shared != self._shared:
            self._shared = shared
            self._due |= {*self._by_peer, *self._local.peers()}

    # --- what is done about it -------------------------------------------------------------------

    def _take_answer(self, session: Session) -> None:
        """What the database refused is due again: no row changes that would say so."""
        sent, self._sent = self._sent, frozenset()
        failure = session.failure()
        if failure is not None:
            self._due |= sent
            _log.warning("tunnel_ports_not_written", reason=failure.diagnostics())

    def _write(self, session: Session, agent: Agent, now: float) -> None:
        self._pace.tidy(now)
        self._mark_pace.tidy(now)
        if not self._due:
            return
        changes, unmarked = self._marks(agent, now)
        try:
            plan, later = self._plan(session, agent, now)
            ovsdb.apply(session, plan, [mark for some in changes.values() for mark in some])
        except (OvsdbError, PkiError) as error:
            self._wake_at = self._look_at
            _log.warning("tunnel_ports_not_written", reason=error.diagnostics())
            return
        written = frozenset(() if plan is None else _peers_of(plan))
        for peer in written:
            self._pace.take(peer, now)
        for peer in changes:
            self._mark_pace.take(peer, now)
        if plan is not None and not plan.is_empty:
            _tell(plan)
        self._sent = written | changes.keys()
        self._due = later.keys() | unmarked.keys()
        turns = (*later.values(), *unmarked.values())
        self._wake_at = min(self._wake_at, max(self._look_at, min(turns, default=NEVER)))

    def _plan(
        self, session: Session, agent: Agent, now: float
    ) -> tuple[PortPlan | None, dict[str, float]]:
        """What to do now, and when it is whose turn of the others."""
        settings = self._shared.settings
        if settings is None:
            return None, {}
        turns = {peer: self._pace.allowed_at(peer, now) for peer in self._due}
        later = {peer: turn for peer, turn in turns.items() if turn > now}
        ready = self._due - later.keys()
        records = [one for peer in ready for one in self._by_peer.get(peer, {}).values()]
        seen = SeenPorts(
            bridge=self._shared.bridge, ports=self._local.of(ready), used_names=frozenset()
        )
        if agent.abilities.delegated:
            wanted = self._delegated(records, settings, seen.ports)
        else:
            wanted = wanted_ports([(one.pair, one.csum) for one in records], settings)
        plan = plan_ports(wanted, seen, self._shared.index)
        if plan.create:
            # Only now, for to read all names costs as much as all ports.
            seen = replace(seen, used_names=ovsdb.used_names(session))
            plan = plan_ports(wanted, seen, self._shared.index)
        if plan.delete and not agent.idle:
            # Not every pair has been looked at, so what nobody wants may still be wanted.
            later.update((port.peer, now) for port in plan.delete)
            plan = replace(plan, delete=())
        return plan, later

    def _delegated(
        self, records: list[PairRecord], settings: PortSettings, ports: Iterable[TunnelPort]
    ) -> tuple[WantedPort, ...]:
        """The ports by which ovs-monitor-ipsec encrypts; the files that they name are written."""
        wishes = [(one.pair, one.csum, one.state) for one in records]
        if self._pins is None:
            return delegated_ports(wishes, settings)
        pins = {one.pair.peer: self._pins.get(one.pair.peer, ()) for one in records}
        self._pin_files.write(der for some in pins.values() for der in some)
        paths = {peer: [*map(self._pin_files.path, some)] for peer, some in pins.items()}
        named = frozenset(map(_certificate_of, ports))
        return delegated_ports(wishes, settings, PinPaths(of_peer=paths, in_use=named))

    def _tidy_pins(self) -> None:
        """Delete the files of certificates that are not accepted, once no port names them."""
        if not self._untidy or self._due or self._sent:
            return
        self._untidy = False
        paths = {self._pin_files.path(der) for some in (self._pins or {}).values() for der in some}
        ports = self._local.of(self._local.peers())
        self._pin_files.keep_only(paths | {_certificate_of(port) for port in ports})

    def _marks(self, agent: Agent, now: float) -> tuple[dict[str, list[Mark]], dict[str, float]]:
        """What to write beside the ports of each peer now, and when it is whose turn."""
        ports = self._local.of(self._due)
        peer_of = {port.row: port.peer for port in ports}
        records = (one for peer in self._due for one in self._by_peer.get(peer, {}).values())
        seen = SeenPorts(bridge=self._shared.bridge, ports=ports, used_names=frozenset())
        changes: dict[str, list[Mark]] = {}
        later: dict[str, float] = {}
        for mark in marks(seen, {one.pair: one.state for one in records}):
            peer = peer_of[mark.row]
            turn = self._mark_pace.allowed_at(peer, now)
            if turn > now or (mark.state is None and not agent.idle):
                later[peer] = turn
            else:
                changes.setdefault(peer, []).append(mark)
        return changes, later


def _facts(record: PairRecord) -> tuple[object, ...]:
    """What of a pair its port depends on."""
    return record.pair, record.csum, record.state


def _certificate_of(port: TunnelPort) -> str:
    return dict(port.options).get(REMOTE_CERT, "")


def _peers_of(plan: PortPlan) -> Iterable[str]:
    yield from (new.wanted.pair.peer for new in plan.create)
    yield from (one.wanted.pair.peer for one in plan.repair)
    yield from (port.peer for port in plan.delete)


def _tell(plan: PortPlan) -> None:
    _log.info(
        "tunnel_ports_written",
        created=[new.name for new in plan.create],
        repaired=[one.port.name for one in plan.repair],
        deleted=[port.name for port in plan.delete],
        dropped=sorted({key for one in plan.repair for key in one.dropped}),
    )
