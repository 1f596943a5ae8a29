# SPDX-License-Identifier: Apache-2.0
"""Shell: the one loop of the controller: wake, observe, decide, apply, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import ovs.poller
import structlog

from ovn_ipsec import clock
from ovn_ipsec.errors import EdgeError, IPsecError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import NO_POLICY, ClusterPolicy, Phase, Profile
from ovn_ipsec.ovsdb.schemas import VSWITCH
from ovn_ipsec.ovsdb.session import Session
from ovn_ipsec.schema.open_vswitch import LocalChassis
from ovn_ipsec.schema.report import REQUEST, format_digest
from ovn_ipsec.service import Service, notify_systemd

from . import local as local_db
from . import report
from .apply import apply_steps
from .changes import log_change
from .conflict import ConflictWatch
from .guard.keeper import GuardKeeper
from .guard.nft import NftGuardLayer
from .guard.xfrm import XfrmGuardLayer
from .ike.strongswan import DEFAULT_URI, StrongSwan
from .ike_link import IkeLink
from .kernel import KernelWatch
from .plan.agent import Agent
from .plan.guard import GuardState
from .plan.ike import ConnName
from .plan.pace import Bucket
from .plan.record import NOTHING_SEEN, Context, Decision
from .plan.steps import Initiate
from .ports import PortKeeper
from .southbound_link import SouthboundLink
from .state_dir import StateDir
from .trust import Trust

_log = structlog.get_logger()

BATCH = 64
"""Pairs decided in one pass, so that events and commands are never kept waiting for long."""
STEP_RETRY_S = 1.0
"""After a step that the IKE daemon refused, or a guard that the kernel did not take."""
NAMELESS_S = 1.0
"""Between two looks while the local database has not said who we are."""
REPORT_S = 1.0
"""Between two writes of the digest, unless a phase has just been applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line says."""

    ovs_remote: str
    name: str | None
    vici: str | None
    state_dir: Path
    sysconfdir: Path
    rundir: Path
    tls: tuple[str, str, str] | None


class Controller:
    """All parts of one chassis' controller, wired."""

    def __init__(self, settings: Settings) -> None:
        """Store the settings; open() does the rest."""
        self.settings = settings
        self.vswitch = Session(settings.ovs_remote, VSWITCH, probe_interval_s=0)
        self.state = StateDir(settings.state_dir)
        self.guard = GuardKeeper([NftGuardLayer(), XfrmGuardLayer()])
        self.kernel = KernelWatch(self.guard, self.state)
        self.trust = Trust(self.state)
        self.ports = PortKeeper(settings.rundir)
        self.conflict = ConflictWatch()
        self.agent: Agent | None = None
        self.southbound = SouthboundLink(settings.tls)
        self.ike: IkeLink | None = None
        self.here: LocalChassis | None = None
        self.applied: ClusterPolicy = NO_POLICY
        self._bucket = Bucket()
        self._guard_found: GuardState | None = None
        self._guard_kept: GuardState | None = None
        self._synced = False
        self._boot_kept: object = "not stored yet"
        self._report_at = float("-inf")
        self._unsaid = False
        self._held = True
        self._told = False

    def open(self) -> None:
        """Open everything local, and close what has to be closed before anything is known."""
        self.state.open()
        self.vswitch.open()
        self.kernel.open()
        self._guard_found = self.guard.found()
        if self._guard_found is None:
            boot = self.state.boot_guard()
            if boot is not None:
                self.guard.keep(boot)
                self._guard_found = boot
                _log.warning("boot_guard_in_force", ports=sorted(boot.ports))
        self._guard_kept = self._guard_found

    # --- one pass --------------------------------------------------------------------------------

    def step(self) -> None:
        """Do one pass: take in what has arrived, decide for what is due, apply, report."""
        now = clock.monotonic()
        self.trust.keeper.heed(now)
        self._observe_local(now)
        if self.agent is None or self.here is None:
            return
        self.southbound.run(self.agent, self.trust)
        if self.conflict.run(now):
            self._tell_ready()
            if self.ike is not None:
                self.ike.backend.close()
            self._report(self.agent, now)
            return
        self.trust.run(self.agent, self.here, self.southbound.loaded, now)
        self._observe_ike(self.agent, now)
        self._act(self.agent, now)
        self.ports.run(self.vswitch, self.agent, self.here, self.southbound.seen_global(), now)
        self._report(self.agent, now)

    def _observe_local(self, now: float) -> None:
        if not self.vswitch.run() and self.here is not None:
            return
        self.ports.note(self.vswitch.changes())
        override = local_db.name_override(self.settings.name, self.settings.sysconfdir)
        here = local_db.observe(self.vswitch, override)
        if here is None or here == self.here:
            return
        for error in here.errors:
            _log.error("setting_refused", reason=error.diagnostics())
        old, self.here = self.here, here
        if here.name is not None and (self.agent is None or self.agent.this_chassis != here.name):
            self._become(here.name)
        if self.agent is not None and (old is None or old.vici != here.vici or self.ike is None):
            charon = StrongSwan(self.settings.vici or here.vici or DEFAULT_URI)
            self.ike = IkeLink(charon, self.trust.keys, self.state.mark)
        wanted = (here.remote, here.psk_plain)
        if here.remote and (old is None or (old.remote, old.psk_plain) != wanted):
            self._connect(here)
        self.kernel.hurry(now)

    def _become(self, name: ChassisName) -> None:
        self.agent = Agent(name)
        self.agent.was_closed = lambda record: self.kernel.was_closed(self._guard_found, record)
        self._synced = False
        _log.info("chassis_named", name=name)
        if self.southbound.opened is not None and self.here is not None:
            self._connect(self.here)

    def _connect(self, here: LocalChassis) -> None:
        # Without a name yet this is done again with one.
        name = "" if self.agent is None else self.agent.this_chassis
        self.southbound.connect(here, name, local_db.tls_files(self.vswitch))

    def _observe_ike(self, agent: Agent, now: float) -> None:
        if self.ike is None:
            return
        if self.ike.run(agent, now):
            self.kernel.hurry(now)
        self.kernel.run(agent, now, daemon_ready=self.ike.ready)

    # --- decide and apply ------------------------------------------------------------------------

    def _act(self, agent: Agent, now: float) -> None:
        if not self.southbound.ready:
            return
        self._bucket = self._bucket.refill(now)
        decisions: list[tuple[ConnName, Decision]] = []
        for name in agent.due(now, BATCH):
            before = agent.records.get(name)
            if agent.retries(name) and self.ike is not None:
                self.ike.look(agent, name)
            decision = agent.decide(
                name, partial(self.trust.configs.make, agent), self._context(agent, now)
            )
            if decision is None:
                continue
            if any(isinstance(step, Initiate) for step in decision.steps):
                self._bucket = self._bucket.take()
            log_change(before, decision.record)
            self.trust.settle(agent, name, decision)
            decisions.append((name, decision))
        if agent.idle and not self._synced:
            self._synced = True
            agent.was_closed = lambda _record: False
        held = self._held = self._keep_guard(agent) if self._synced else False
        for name, decision in decisions:
            self._apply(agent, name, decision)
        if agent.idle and self.ike is not None and self.ike.ready:
            self.trust.tidy(self.ike.backend)
        if agent.idle and held and self.applied != agent.policy and not agent.settling(now):
            self.applied = agent.policy
            self._report_at = now

    def _tell_ready(self) -> None:
        """Tell systemd, once: the policy is known and the guard is as it shall be.

        ovn-controller is ordered behind us, so that no tunnel is made before that.
        """
        if self.southbound.ready and not self._told:
            self._told = True
            notify_systemd("READY=1")

    def _context(self, agent: Agent, now: float) -> Context:
        ike = self.ike
        return Context(
            phase=agent.policy.phase,
            now=now,
            this_chassis=agent.this_chassis,
            recovering=ike is not None and now < ike.recovering_until,
            daemon_ready=ike is not None and ike.ready,
            may_start=self._bucket.allows,
            phase_since=self.southbound.phase_since,
            profiles=frozenset(Profile) if agent.able is None else agent.able,
            quarantine=agent.policy.quarantine,
        )

    def _floor(self) -> GuardState | None:
        """What the guard covers while our own row is not there: as before, and where it will be."""
        kept, here = self._guard_kept, self.here
        if here is None or not here.encap_ips:
            return kept
        base = kept or GuardState(ports=frozenset(), local=frozenset(), may_clear=frozenset())
        ports, local = base.ports | here.encap_ports, base.local | here.encap_ips
        return replace(base, ports=ports, local=local)

    def _keep_guard(self, agent: Agent) -> bool:
        wanted = agent.guard(self._floor())
        held = self.guard.keep(wanted)
        self._tell_ready()
        boot = wanted if agent.policy.phase is Phase.ENFORCE else None
        if _boot_part(boot) != self._boot_kept:
            try:
                self.state.keep_boot_guard(boot)
                self._boot_kept = _boot_part(boot)
            except EdgeError as error:
                _log.error("boot_guard_not_kept", reason=error.diagnostics())
        self._guard_kept = wanted
        return held or self.guard.holds()

    def _apply(self, agent: Agent, name: ConnName, decision: Decision) -> None:
        ike = self.ike
        if not decision.steps or ike is None or not ike.ready:
            return
        seen = agent.seen.get(name, NOTHING_SEEN)
        after, failure = apply_steps(ike.backend, decision.steps, seen)
        agent.put_seen(name, after)
        if failure is not None:
            agent.put_error(name, failure.diagnostics())
            agent.touch_at(name, clock.monotonic() + STEP_RETRY_S)
            _log.warning("step_failed", connection=name, reason=failure.diagnostics())
        elif decision.record is None:
            self.trust.drop(name)

    # --- report ----------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What is wrong on this chassis, most important first."""
        if self.conflict.problem:
            return [self.conflict.problem]
        words: list[str] = []
        if self.agent is not None:
            words.extend(self.trust.problems(self.agent.policy))
        if self.ike is not None:
            words.append(self.ike.problem and f"IKE daemon: {self.ike.problem}")
        words.extend(f"guard {name}: {what}" for name, what in self.guard.problems().items())
        words.extend([self.kernel.problem, self.southbound.error])
        if self.agent is not None:
            words.append(report.profile_problem(self.agent))
            own = () if self.here is None else self.here.errors
            words.append(report.refusal_summary((*own, *self.agent.all_refusals())))
        return [word for word in words if word]

    def _report(self, agent: Agent, now: float) -> None:
        southbound = self.southbound.opened
        if southbound is None or not self.southbound.ready:
            return
        self._unsaid = now < self._report_at
        if self._unsaid:
            return
        keeper = self.trust.keeper
        version = self.ike.version if self.ike is not None else ""
        digest = report.digest(
            agent,
            self.applied,
            daemon=f"strongSwan {version}" if version else "",
            problems=self.problems(),
            expires=keeper.expires,
        )
        keys = format_digest(replace(digest, auths=keeper.auths, warning=keeper.warning))
        if keeper.request:
            keys[REQUEST] = keeper.request
        self._report_at = now + REPORT_S
        self._unsaid = not southbound.publish(agent.this_chassis, keys, keeper.pin)

    # --- wait ------------------------------------------------------------------------------------

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller with everything that step() could act on."""
        now = clock.monotonic()
        self.vswitch.wait(poller)
        if self.agent is None:
            poller.timer_wait(int(NAMELESS_S * 1000))
            return
        self.southbound.wait(poller)
        if self.conflict.problem:
            # Nothing else is looked at, so nothing else may wake.
            poller.timer_wait(int(max(0.0, self.conflict.look_at - now) * 1000) + 1)
            return
        numbers = [*self.kernel.filenos(), self.trust.keeper.watch.fileno()]
        times = [self.kernel.wake_at(), self.trust.keeper.wake_at(), self.conflict.look_at]
        if self.ike is not None:
            numbers.append(self.ike.backend.fileno())
            times.append(self.ike.wake_at() or self.conflict.look_at)
        for number in (number for number in numbers if number >= 0):
            poller.fd_wait(number, ovs.poller.POLLIN)
        if self.southbound.ready and not self.agent.idle:
            poller.immediate_wake()
        times.append(self.agent.wake_at() or self.conflict.look_at)
        if self._unsaid:
            times.append(max(self._report_at, now + 0.05))
        if not self._held:
            times.append(now + STEP_RETRY_S)
        times.append(self.ports.wake_at(now))
        delay_s = max(0.0, min(times) - now)
        poller.timer_wait(int(delay_s * 1000) + 1)

    def close(self) -> None:
        """Close sockets; SAs, connections, guard stay as they are."""
        self.vswitch.close()
        self.southbound.close()
        self.trust.keeper.watch.close()
        if self.ike is not None:
            self.ike.backend.close()


def _boot_part(guard: GuardState | None) -> object:
    return (guard.ports, guard.local) if guard is not None else None


def run(controller: Controller, service: Service, after_pass: Callable[[], None]) -> None:
    """Loop until told to stop; what is called after a pass is not after one that failed."""
    while not service.stopping:
        try:
            service.run()
            controller.step()
            after_pass()
        except IPsecError as error:
            _log.error("pass_failed", reason=error.diagnostics())
        except Exception:
            _log.exception("pass_failed_unexpectedly")
        poller = ovs.poller.Poller()
        service.wait(poller)
        controller.wait(poller)
        if not service.stopping:
            poller.block()
