# SPDX-License-Identifier: Apache-2.0
"""Shell: the one loop: wake, observe, decide, apply, report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import ovs.poller
import structlog

from ovn_ipsec.clock import monotonic, utc_now
from ovn_ipsec.errors import InputError, OvsdbConflict
from ovn_ipsec.model.policy import HOLD_S, ClusterPolicy, Phase
from ovn_ipsec.ovsdb.session import Session
from ovn_ipsec.schema.nb_global import GENERATION, STATE
from ovn_ipsec.service import Service, notify_systemd

from . import metrics
from .census import Census, take_census
from .members import Members
from .northbound import Northbound
from .policy import EncapChange, SbPlan, evaluate
from .report import LAG_GRACE_S, make_report
from .rollout import TURN_S, Event, Step, deadline_s, step
from .settling import Settling
from .southbound import Southbound
from .target import NO_SIGNING, Signing, Target, Targeting
from .views import NbView, SbView

if TYPE_CHECKING:
    from .enrolment import Enrolment

LOCK = "ovn_ipsec_northd"
EVALUATE_EVERY_S = 0.2
REPORT_EVERY_S = 1.0
RETRY_AFTER_S = 1.0


@dataclass(slots=True)
class _Reached:
    """The generation and phase that SB carries, and when this process first saw them."""

    policy: ClusterPolicy | None = None
    since: float = 0.0

    def note(self, policy: ClusterPolicy | None, now: float) -> bool:
        """Take note of what SB carries; whether it is another generation or phase."""
        same = self._step(policy) == self._step(self.policy) and self.since > 0
        self.policy = policy
        if not same:
            self.since = now
        return not same

    @staticmethod
    def _step(policy: ClusterPolicy | None) -> tuple[int, Phase] | None:
        return None if policy is None else (policy.generation, policy.phase)


class Northd:
    """NB's policy into SB, paced by what the chassis report."""

    def __init__(
        self,
        service: Service,
        nb: Session,
        sb: Session,
        ports: Session,
        enrolment: Enrolment | None = None,
    ) -> None:
        """Store what run() opens and drives.

        Args:
            service: The process.
            nb: Northbound.
            sb: Southbound; asserts LOCK.
            ports: Southbound once more, for the ports of networks while a rule selects one.
            enrolment: The authority, where this process is given one.
        """
        self._service, self._nb, self._sb, self._enrolment = service, nb, sb, enrolment
        self._members = Members(ports)
        self._northbound, self._southbound = Northbound(nb), Southbound(sb)
        self._log = structlog.get_logger()
        self._reached = _Reached()
        self._settling, self._targeting = Settling(), Targeting()
        self._decided: ClusterPolicy | None = None
        self._cluster: metrics.Cluster | None = None
        self._noted: tuple[InputError, ...] = ()
        """What the last evaluation could not take as it is."""
        self._refused: frozenset[str] = frozenset()
        self._paused = self._ready = self._active = False
        self._dirty = True
        self._due: float | None = None
        self._evaluated = self._reported = 0.0

    def run(self) -> None:
        """Run until the service is told to stop."""
        self._service.open()
        self._offer_commands()
        self._nb.open()
        self._sb.open()
        self._log.info("started", nb=self._nb.remotes, sb=self._sb.remotes)
        while not self._service.stopping:
            now = monotonic()
            try:
                self._turn(now)
                self._meter(now)
            except Exception:
                self._log.exception("turn_failed")
                self._forget()
                self._wake_at(now + RETRY_AFTER_S)
            self._wait()
        self._log.info("stopped")
        self._nb.close()
        self._sb.close()
        self._members.close()
        self._service.close()

    def _forget(self) -> None:
        """Start over with nothing remembered: a turn that broke off may have lost changes."""
        self._northbound, self._southbound = Northbound(self._nb), Southbound(self._sb)
        self._targeting = Targeting()
        self._members.close()

    def _wait(self) -> None:
        poller = ovs.poller.Poller()
        self._service.wait(poller)
        self._nb.wait(poller)
        self._sb.wait(poller)
        self._members.wait(poller)
        due = self._next()
        if due is not None and not self._writing:
            poller.timer_wait(max(0, int((due - monotonic()) * 1000) + 1))
        if self._service.stopping:
            poller.immediate_wake()
        poller.block()

    def _next(self) -> float | None:
        """When the next turn has something to do even if nothing happens."""
        times = [] if self._due is None else [self._due]
        if self._enrolment is not None and self._active and self._ready:
            times.append(max(0.0, self._enrolment.wake_at()))
        return min(times, default=None)

    def _wake_at(self, when: float | None) -> None:
        if when is not None:
            self._due = when if self._due is None else min(self._due, when)

    @property
    def _writing(self) -> bool:
        return self._nb.busy or self._sb.busy

    def _turn(self, now: float) -> None:
        self._service.run()
        changed = [session.run() for session in (self._nb, self._sb)]
        self._dirty |= any([*changed, self._members.run()])
        self._note_failures(now)
        self._note_role()
        if self._writing or not (self._nb.loaded and self._sb.loaded):
            return
        self._tell_ready()
        looked = self._look(now)
        if not self._dirty and (self._due is None or now < self._due):
            if looked:
                self._enrol()
            return
        if now < self._evaluated + EVALUATE_EVERY_S:
            self._wake_at(self._evaluated + EVALUATE_EVERY_S)
            return
        self._evaluated, self._dirty, self._due = now, False, None
        nb, sb = self._northbound.observe(), self._southbound.observe()
        if nb is not None and sb is not None:
            asked = nb.asked.policy
            hold_s = HOLD_S if asked is None else asked.hold_s
            self._members.want(self._targeting.named(nb, sb.policy), hold_s)
            sb = self._members.add_to(sb, now)
            self._wake_at(self._members.deadline())
            self._reconcile(nb, sb, now)

    def _note_failures(self, now: float) -> None:
        for session in (self._nb, self._sb):
            failure = session.failure()
            if isinstance(failure, OvsdbConflict):
                self._dirty = True
                self._log.debug("write_conflict", error=failure.diagnostics())
            elif failure is not None:
                self._wake_at(now + RETRY_AFTER_S)
                self._log.warning("write_failed", error=failure.diagnostics())

    def _tell_ready(self) -> None:
        if not self._ready:
            self._ready = True
            notify_systemd("READY=1")
            self._log.info("ready")

    def _note_role(self) -> None:
        if not self._sb.busy:
            self._sb.hold_lock(not self._paused)
        active = self._sb.has_lock and not self._paused
        if active != self._active:
            self._active = active
            self._cluster = None
            self._dirty = True
            self._log.info("role", role=self._role)

    def _reconcile(self, nb: NbView, sb: SbView, now: float) -> None:
        """Decide, and write what differs; only the active one writes or speaks."""
        if self._reached.note(sb.policy, now) and sb.policy is not None:
            self._log_reached(sb.policy)
        if not self._active:
            return
        waited = now - self._reached.since
        written = self._settling.written_classes(sb)
        target, ledger = self._targeting.run(nb, sb, written, self._signing(sb))
        census = take_census(sb.policy, ledger)
        decided = step(nb, sb, target, census, waited)
        plan = evaluate(decided.policy, sb.policy, ledger)
        self._note_refusals(target, sb, plan)
        self._apply(decided, plan.changes, now)
        self._enrol()
        self._report(nb, sb, target, census, now)
        for after in (deadline_s(sb.policy), LAG_GRACE_S, TURN_S):
            if after is not None and waited < after:
                self._wake_at(self._reached.since + after)

    def _apply(self, decided: Step, changes: tuple[EncapChange, ...], now: float) -> None:
        """Write one policy change with its encaps at once; repairs alone when they have settled."""
        policy, event = decided.policy, decided.event
        if policy is None:
            return
        ended = event is Event.ADVANCE and policy.phase is Phase.OFF
        if ended or event in (Event.CHANGE, Event.RESTORE, Event.DISABLE):
            self._settling.stated(changes)
        else:
            changes = self._settling.due(changes, now)
            self._wake_at(self._settling.deadline())
            if event is None and not changes:
                return
            self._settling.repaired(changes, now)
        self._southbound.publish(policy, changes)
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

    def _signing(self, sb: SbView) -> Signing:
        """What the authority says; where it is another process', what was published stays."""
        if self._enrolment is not None:
            return self._enrolment.signing
        if sb.policy is None or not sb.policy.authorities:
            return NO_SIGNING
        return Signing(authorities=sb.policy.authorities, barred=sb.policy.quarantine)

    def _look(self, now: float) -> bool:
        """Look at the authority's books if it is time to; only what is new there is evaluated."""
        enrolment = self._enrolment
        if enrolment is None or not self._active or now < enrolment.wake_at():
            return False
        self._dirty |= enrolment.look(now)
        return True

    def _enrol(self) -> None:
        """Answer chassis that ask for a certificate."""
        if self._enrolment is None or self._sb.busy:
            return
        southbound = self._southbound
        answers = self._enrolment.answer(southbound.asked(), southbound.remotes(), utc_now())
        self._log_refusals()
        if answers:
            southbound.publish_certificates(answers)

    def _report(self, nb: NbView, sb: SbView, target: Target, census: Census, now: float) -> None:
        """Tell NB about what SB carries now, never about what is still on its way there."""
        if self._sb.busy:
            return
        waited = now - self._reached.since
        report = make_report(nb, sb, target, census, waited)
        self._cluster = metrics.Cluster(
            state=report[STATE],
            generation=int(report[GENERATION]),
            errors=len(target.errors) + (sb.error is not None),
            census=census,
        )
        if report == nb.report:
            return
        if report[STATE] == nb.report.get(STATE) and now < self._reported + REPORT_EVERY_S:
            self._wake_at(self._reported + REPORT_EVERY_S)
            return
        self._reported = now
        if report[STATE] != nb.report.get(STATE):
            self._log.info("state", **{"from": nb.report.get(STATE, ""), "to": report[STATE]})
        self._northbound.publish(report)

    def _meter(self, now: float) -> None:
        """Hand over what metrics are made of, where they are asked for."""
        if self._service.exporter is None:
            return
        signing = self._enrolment if self._active else None
        seen = metrics.Snapshot(
            active=self._active,
            northbound=self._nb.connected,
            southbound=self._sb.connected,
            cluster=self._cluster,
            authority=None
            if signing is None
            else metrics.Authority(
                signed=signing.signed,
                refused=len(signing.refusals),
                usable=not signing.problem,
            ),
        )
        self._service.exporter.publish(partial(metrics.samples, seen), now)

    def _log_reached(self, policy: ClusterPolicy) -> None:
        if policy == self._decided:
            return
        phase = str(policy.phase)
        self._log.info("phase", generation=policy.generation, phase=phase, role=self._role)

    def _note_refusals(self, target: Target, sb: SbView, plan: SbPlan) -> None:
        noted: list[InputError] = [*target.errors, *([sb.error] if sb.error else [])]
        noted += [c.digest_error for c in sb.chassis.values() if c.digest_error is not None]
        self._noted = (*noted, *plan.refusals)
        self._log_refusals()

    def _log_refusals(self) -> None:
        asking = () if self._enrolment is None else self._enrolment.refusals
        self._log_new((*self._noted, *asking))

    def _log_new(self, refusals: Iterable[InputError]) -> None:
        found = {str(error): error for error in refusals}
        for key in sorted(found.keys() - self._refused):
            error = found[key]
            self._log.warning(
                "refused",
                table=error.table,
                row=error.row,
                key=error.key,
                text=error.text[:80],
                reason=error.reason,
            )
        self._refused = frozenset(found)

    @property
    def _role(self) -> str:
        if self._paused:
            return "paused"
        return "active" if self._active else "standby"

    def _offer_commands(self) -> None:
        self._service.command("pause", "", 0, 0, lambda _: self._pause(True))
        self._service.command("resume", "", 0, 0, lambda _: self._pause(False))
        self._service.command("is-paused", "", 0, 0, lambda _: str(self._paused).lower())
        self._service.command("status", "", 0, 0, lambda _: self._status())

    def _pause(self, paused: bool) -> str:
        self._paused = paused
        return ""

    def _status(self) -> str:
        policy = self._reached.policy
        lines = [
            f"Status: {self._role}",
            f"Phase: {policy.phase if policy else Phase.OFF}",
            f"Generation: {policy.generation if policy else 0}",
            f"Northbound: {'connected' if self._nb.connected else 'not connected'}",
            f"Southbound: {'connected' if self._sb.connected else 'not connected'}",
        ]
        return "\n".join(lines)
