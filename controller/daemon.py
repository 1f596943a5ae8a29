# SPDX-License-Identifier: Apache-2.0
"""Shell: the controller's single loop. The guard comes first, then everything that can fail.

A pass does the following, in this order: maintain the guard; read the local database, and create
another Chassis if this host has another name or another southbound; observe southbound rows and
credentials; check the kernel; decide about the pairs of encaps that may have changed
(plan/pair/lifecycle.py); bring the guard to the resulting state; and only then talk to the IKE
daemon, write tunnel ports, and report. The parts are independent: one that fails is reported, once
in the log and in the digest; the others still run, and the next pass comes a second later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

import ovs.poller
import structlog

from ovn_ipsec.model.ike import Ike
from ovn_ipsec.model.mtu import Interface
from ovn_ipsec.model.policy import NO_POLICY, ClusterPolicy
from ovn_ipsec.model.wait import Reached
from ovn_ipsec.ovsdb.rows import interfaces
from ovn_ipsec.schema.open_vswitch import LocalChassis
from ovn_ipsec.service import Service, notify_systemd
from ovn_ipsec.wait import WaitLog

from . import local as local_db
from . import report
from .chassis import Chassis, Decisions
from .evidence.keeper import EvidenceKeeper, Scene
from .guard.host import HostGuard
from .headline import Situation, Told, headline, waits_for
from .identity import identify, vici_of
from .ike.choice import IkeChoice
from .ike.conflict import ConflictWatch
from .kernel.watch import NO_ESP, KernelWatch
from .mtu import MtuWatch
from .outside import Outside, TlsFiles
from .plan.agent import Agent
from .plan.guard import NO_GUARD, GuardState, narrowed
from .plan.latch import Former

_log = structlog.get_logger()

P = ParamSpec("P")
R = TypeVar("R")

FAULT_S = 1.0
"""Minimum time between a pass in which something failed and the next."""
NAMELESS_S = 1.0
"""Between two passes while the local database does not say who we are."""
NO_LAYER = "this kernel enforces neither layer of the guard (nftables, XFRM): clear text can leak"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings from the command line."""

    vici: str | None = None
    tls: TlsFiles | None = None


class Controller:
    """The controller of one host: its guard, and the chassis that this host currently is."""

    def __init__(self, settings: Settings, outside: Outside) -> None:
        """Build the controller; open() does the rest.

        Args:
            settings: From the command line.
            outside: The edges, none of them opened.
        """
        self.settings = settings
        self.outside = outside
        self.guard = HostGuard(outside.layers, outside.state, outside.boot)
        self.kernel = KernelWatch(outside.kernel, self.guard, outside.state)
        self.mtu = MtuWatch(outside.path_mtus)
        self.vswitch = outside.vswitch
        self.ports = outside.ports
        self.choice = IkeChoice(outside.ikes)
        self.conflict = ConflictWatch(outside.monitor_ipsec, self.choice)
        counters = self.guard.keeper.counters
        self.evidence = EvidenceKeeper(outside.journal, outside.clock, outside.boot, counters)
        self.chassis: Chassis | None = None
        self.coming: Chassis | None = None
        """The chassis that this host will be as soon as its southbound has stated a policy."""
        self.here: LocalChassis | None = None
        self._unread = True
        """Whether the local database has changes that have not been processed completely."""
        self.service_problems: Callable[[], list[str]] = list
        """What is wrong with the process itself, such as its log file."""
        self.faults: dict[str, str] = {}
        """Parts of a pass that fail, each with the cause."""
        self._former: Former | None = None
        """What was in force before the current chassis; None: what was found at start."""
        self._told = False
        self._waits = WaitLog()
        self.doing = ""
        """What this controller waits for or does, in one line."""

    def open_guard(self) -> None:
        """Install the guard that must be in force, before anything else that can fail."""
        self._part("state directory", self.outside.state.open)
        self._part("guard", self.guard.open)

    def open(self) -> None:
        """Open everything local, after the guard."""
        self.open_guard()
        self._part("kernel", self.kernel.open)
        self.evidence.open()
        self._part("local database", self.vswitch.open)

    # --- one pass --------------------------------------------------------------------------------

    def step(self) -> None:
        """Do one pass; no failure in it propagates."""
        now = self.outside.clock.monotonic()
        self._step(now)
        self._tell_ready()
        self._part("status line", self._tell, now)

    def _step(self, now: float) -> None:
        self._part("guard retry", self.guard.retry, now)
        self._part("state directory", self.outside.state.retry, now)
        self._part("local database", self._observe_local, now)
        if self.coming is not None:
            self._part("next southbound", self._succeed, self.coming, now)
        chassis = self.chassis
        if chassis is None:
            self._part("kernel", self._watch_kernel, now)
            self._part("evidence", self._keep_evidence, None)
            return
        self._part("southbound", self._observe_southbound, chassis)
        if self.here is not None:
            self._part("credentials", chassis.observe_credentials, self.here)
        self._part("kernel", self._watch_kernel, now)
        delegated = chassis.identity.ike.ike is Ike.DELEGATE
        self._part("ovs-monitor-ipsec", self.conflict.look, now, wanted=delegated)
        decisions = self._part("decisions", chassis.decide, self._before(chassis)) or []
        self._part("guard", self._keep_guard, chassis, now)
        self._part("IKE daemon", self._drive_ike, chassis, decisions, now)
        self._part("tunnel ports", self._keep_ports, chassis, now)
        self._part("MTU", self.mtu.look, chassis.agent, now, self._interfaces)
        self._part("report", self._report, chassis)
        self._part("evidence", self._keep_evidence, chassis)

    def _part(self, name: str, run: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Run one part of a pass; a failure does not keep the other parts from running."""
        try:
            result = run(*args, **kwargs)
        except Exception as error:
            cause = report.fault(error)
            if self.faults.get(name) != cause:
                _log.exception("part_failed", part=name, reason=cause)
            self.faults[name] = cause
            return None
        if self.faults.pop(name, None) is not None:
            _log.info("part_works_again", part=name)
        return result

    def _observe_local(self, now: float) -> None:
        changed = self.here is not None and self._choose_ike(self.here, now)
        if not self.vswitch.receive() and self.here is not None and not (self._unread or changed):
            return
        self._unread = True
        self.ports.note(self.vswitch.changes())
        here = local_db.observe(self.vswitch, self.outside.name_override())
        if here is not None:
            self._follow_local(here, now)
        self._unread = False

    def _choose_ike(self, here: LocalChassis, now: float) -> bool:
        """Choose the IKE daemon. Returns whether it is another one than before."""
        return self.choice.look(here.ike, vici_of(here, self.settings.vici), now)

    def _follow_local(self, here: LocalChassis, now: float) -> None:
        tls = self.settings.tls or local_db.tls_files(self.vswitch)
        if here != self.here:
            for error in here.errors:
                _log.error("setting_refused", reason=error.diagnostics())
        self.here = here
        self._choose_ike(here, now)
        identity = identify(here, tls, self.settings.vici, self.choice.ike)
        last = self.coming or self.chassis
        # A missing setting is not an order: we stay who we were until there is another identity.
        if identity is None or (last is not None and identity == last.identity):
            return
        chassis = Chassis(identity, self.outside)
        _log.info("chassis_named", name=identity.name)
        if self.chassis is None:
            self.chassis = chassis
        else:
            self.chassis.leave()
            if self.coming is not None:
                self.coming.close()
            self.coming = chassis
        chassis.open()
        self.kernel.hurry(now)

    def _succeed(self, coming: Chassis, now: float) -> None:
        """Let the next chassis take over, once it knows which policy to obey."""
        self._observe_southbound(coming)
        before = self.chassis
        if before is None or not (coming.ready and coming.has_row):
            return
        if before.synced:
            self._former = Former(guard=self.guard.standing)
        coming.agent.succeed(before.agent)
        before.close()
        self.chassis, self.coming = coming, None
        self.kernel.hurry(now)
        _log.info("chassis_succeeds", name=coming.identity.name)

    def _observe_southbound(self, chassis: Chassis) -> None:
        chassis.observe_southbound(guarded=self.guard.may_stand)

    def _watch_kernel(self, now: float) -> None:
        chassis = self.chassis
        ready = chassis is not None and chassis.ike.ready and not self.conflict.problem
        agent = None if chassis is None else chassis.agent
        outdated = None if chassis is None or not ready else chassis.ike.outdated
        self.kernel.look(agent, now, outdated)

    def _before(self, chassis: Chassis) -> Former:
        """What was in force before this chassis has decided."""
        if chassis.synced:
            return Former()
        if self._former is not None:
            return replace(self._former, foreign=self.kernel.foreign)
        start = self.guard.start
        return Former(guard=start.closed_by, latched=start.latched, foreign=self.kernel.foreign)

    def _keep_guard(self, chassis: Chassis, now: float) -> None:
        here, standing = self.here, self.guard.standing
        if not chassis.synced:
            early = None if here is None else chassis.early_guard(here)
            if early is not None:
                self.guard.deny(early, now)
            return
        wanted = chassis.agent.guard(self._floor())
        if self.conflict.problem:
            wanted = narrowed(standing, wanted, chassis.agent.policy.phase)
        self.guard.keep(wanted, chassis.agent.policy.phase, chassis.agent.latched(), now)

    def _floor(self) -> GuardState | None:
        """What the guard covers while our own row is missing: as before, and where it will be."""
        standing, here = self.guard.standing, self.here
        if here is None or not here.encap_ips:
            return standing
        base = standing or NO_GUARD
        ports, local = base.ports | here.encap_ports, base.local | here.encap_ips
        return replace(base, ports=ports, local=local)

    def _drive_ike(self, chassis: Chassis, decisions: Decisions, now: float) -> None:
        if self.conflict.problem:
            chassis.skip_ike()
            return
        if chassis.drive_ike(decisions):
            self.kernel.hurry(now)
        if self.guard.held or self.guard.keeper.holds():
            chassis.acknowledge(self.blockers())

    def _keep_evidence(self, chassis: Chassis | None) -> None:
        scene = None if chassis is None else _scene(chassis)
        self.evidence.keep(scene, *self.kernel.take())

    def _keep_ports(self, chassis: Chassis, now: float) -> None:
        if not chassis.ready or self.here is None or self.conflict.problem:
            return
        seen = chassis.seen
        sb_global = None if seen is None else seen.sb_global
        self.ports.reconcile(self.vswitch, chassis.agent, self.here, sb_global, now)
        chassis.trust.owns_ports = self.ports.owns

    def _interfaces(self) -> tuple[Interface, ...] | None:
        """The interfaces of workloads; None while they cannot be read."""
        if self.here is None or not self.vswitch.loaded:
            return None
        return interfaces(self.vswitch.rows("Bridge"), self.here.bridge)

    def _tell_ready(self) -> None:
        """Tell systemd, once, that nothing leaves in clear that should not.

        ovn-controller is ordered after us, so it makes no tunnel before that. We are ready if the
        policy is known and the guard is in its wanted state, if an earlier guard is in force, or
        if there is no guard to keep and nobody to ask what should be in force.
        """
        if self._told:
            return
        chassis, standing = self.chassis, self.guard.standing
        known = chassis is not None and chassis.synced
        kept = standing is not None and self.guard.keeper.holds()
        if known or kept or (standing is None and self._is_alone()):
            self._told = True
            notify_systemd("READY=1")

    def _is_alone(self) -> bool:
        """Whether nobody can be asked what should be, as far as the local database says.

        One that cannot be reached tells nobody else either: ovn-controller makes no tunnel then.
        """
        if self.chassis is not None:
            return False
        away = bool(self.vswitch.problem) and not self.vswitch.connected
        return away or self.here is not None or self.vswitch.loaded

    # --- report ----------------------------------------------------------------------------------

    def _tell(self, now: float) -> None:
        """Say what is waited for, where that has changed."""
        seen = self._situation()
        self._waits.note(waits_for(seen), now)
        self.doing = headline(seen)

    def _situation(self) -> Situation:
        vswitch, chassis = self.vswitch, self.chassis
        return Situation(
            local=Reached(where=vswitch.remotes, up=vswitch.connected, problem=vswitch.problem),
            here=self.here,
            chassis=None if chassis is None else _told(chassis, self.conflict.lack),
            coming="" if self.coming is None else _waiting(self.coming),
            fault=next(iter(self._faulty_parts()), ""),
            conflict=self.conflict.problem,
        )

    def blockers(self) -> list[str]:
        """What on this host prevents encryption."""
        words = []
        if self.kernel.esp is False:
            words.append(NO_ESP)
        if not self.guard.can_enforce:
            words.append(NO_LAYER)
        if self.conflict.lack:
            words.append(f"IKE daemon: {self.conflict.lack}")
        return words

    def problems(self) -> list[str]:
        """Everything that is wrong on this chassis, most important first."""
        words = [self.conflict.problem, *self._faulty_parts(), *self.blockers()]
        chassis = self.chassis
        if self.coming is not None:
            words.append(_waiting(self.coming))
        if chassis is not None and not self.conflict.problem:
            words += chassis.problems()
            words.append(report.delegate_problem(chassis.agent, owns=self.ports.owns))
        words += [f"guard {name}: {what}" for name, what in self.guard.keeper.problems().items()]
        words += [self.kernel.problem, self.outside.state.problem, self.evidence.problem]
        words.append(self.vswitch.problem and f"local database: {self.vswitch.problem}")
        if chassis is not None and self.here is not None:
            words.append(chassis.refusals(self.here))
        words += self.service_problems()
        return [word for word in words if word]

    def _faulty_parts(self) -> list[str]:
        return [f"{name}: {cause}" for name, cause in self.faults.items()]

    def _report(self, chassis: Chassis) -> None:
        chassis.report(self.problems(), makes_row=self.ports.makes_row, room=self.mtu.seen.room)

    @property
    def agent(self) -> Agent | None:
        """The plan of the pairs; None while this host has no name."""
        return None if self.chassis is None else self.chassis.agent

    @property
    def connected(self) -> bool:
        """Whether the southbound is connected now."""
        return self.chassis is not None and self.chassis.connected

    @property
    def ready(self) -> bool:
        """Whether systemd was told that this program is ready."""
        return self._told

    @property
    def applied(self) -> ClusterPolicy:
        """The last policy that was acknowledged."""
        return NO_POLICY if self.chassis is None else self.chassis.applied

    # --- wait ------------------------------------------------------------------------------------

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller with everything that step() could act on; after a fault, only a timer."""
        now = self.outside.clock.monotonic()
        if self.faults:
            poller.timer_wait(int(FAULT_S * 1000))
            return
        self.vswitch.wait(poller)
        times = [self.kernel.wake_at(), self.choice.look_at]
        chassis = self.chassis
        if chassis is not None:
            times.append(self.mtu.wake_at())
        if chassis is None:
            times.append(now + NAMELESS_S)
        elif self.conflict.problem:
            # The IKE daemon is left alone, so nothing of it may wake the loop.
            chassis.wait_southbound(poller)
            times += [self.conflict.look_at, chassis.agent.wake_at() or self.conflict.look_at]
        else:
            times += [*chassis.wait(poller), self.conflict.look_at]
            if chassis.ready:
                # Before that nothing handles ports, so what waits there must not wake the loop.
                times.append(self.ports.wake_at(now))
        if self.coming is not None:
            self.coming.wait_southbound(poller)
        for number in self.kernel.filenos():
            poller.fd_wait(number, ovs.poller.POLLIN)
        times.append(self._waits.wake_at())
        retries = (self.guard.wake_at(), self.outside.state.wake_at(), self.evidence.wake_at())
        times += [retry_at for retry_at in retries if retry_at is not None]
        poller.timer_wait(int(max(0.0, min(times) - now) * 1000) + 1)

    def close(self) -> None:
        """Close sockets; SAs, connections and guard stay as they are."""
        self.evidence.close()
        self.vswitch.close()
        self.kernel.close()
        for chassis in (self.chassis, self.coming):
            if chassis is not None:
                chassis.close()


def _told(chassis: Chassis, lack: str) -> Told:
    """What is known of the chassis that this host is."""
    session, ike = chassis.southbound.session, chassis.ike
    problem = lack or ike.problem
    return Told(
        name=chassis.identity.name,
        southbound=Reached(where=session.remotes, up=chassis.connected, problem=session.problem),
        ike=Reached(where=chassis.identity.ike.where, up=ike.ready and not lack, problem=problem),
        ready=chassis.ready,
        has_row=chassis.has_row,
        held=chassis.held_because,
        policy=chassis.agent.policy,
        applied=chassis.applied,
        counts=chassis.agent.pair_counts(),
    )


def _waiting(coming: Chassis) -> str:
    """Say what the next chassis still lacks."""
    identity = coming.identity
    why = coming.held_because or coming.southbound.session.problem
    if not why and coming.ready:
        why = "it has no Chassis row there"
    why = why or "it has not been read yet"
    return (
        f"chassis {identity.name} at {identity.southbound.remotes} has not taken over: {why};"
        " what was in force before stays"
    )


def loop(controller: Controller, service: Service, after_pass: Callable[[], None]) -> None:
    """Loop until told to stop.

    Args:
        controller: Open.
        service: The process.
        after_pass: Called after each pass.
    """
    controller.service_problems = service.problems
    while not service.stopping:
        service.poll()
        controller.step()
        service.tell(controller.doing)
        after_pass()
        poller = ovs.poller.Poller()
        service.wait(poller)
        controller.wait(poller)
        if not service.stopping:
            poller.block()


def _scene(chassis: Chassis) -> Scene:
    """What evidence is made of."""
    credentials = chassis.trust.keys.credentials
    own = credentials.ca or credentials.pinned
    return Scene(
        agent=chassis.agent,
        decided=chassis.take_decided(),
        synced=chassis.synced,
        settled=chassis.synced and chassis.ike.ready,
        applied=chassis.applied,
        certificate=None if own is None else own.certificate_der,
        ask=chassis.ike.backend.certificates,
    )
