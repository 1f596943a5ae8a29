# SPDX-License-Identifier: Apache-2.0
"""Shell: the single loop of ovn-ipsec-northd: wake, observe, decide, apply, report.

A pass of the active one reads both databases (observe/, southbound), decides what SB should carry
(policy/: which rules apply, what follows for each encap; rollout/: which phase comes next), writes
what differs in one transaction, and reports to NB. A standby only observes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import ovs.poller
import structlog

from ovn_ipsec.clock import SYSTEM, Clock
from ovn_ipsec.control import Offer
from ovn_ipsec.errors import InputError, OvsdbConflict
from ovn_ipsec.model.policy import HOLD_S, ClusterPolicy, Phase
from ovn_ipsec.model.wait import Reached
from ovn_ipsec.ovsdb.session import Session
from ovn_ipsec.schema.nb_global import STATE
from ovn_ipsec.schema.sb_global import SCHEMA
from ovn_ipsec.service import Process, notify_systemd
from ovn_ipsec.wait import WaitLog

from . import metrics
from .bounds.damping import Damping
from .headline import Situation, headline, waits_for
from .journal import Journal
from .observe.members import Members
from .observe.northbound import Northbound
from .observe.views import DEGRADED, NbView, SbView
from .policy.evaluation import EncapChange, SbPlan, evaluate
from .policy.settling import Settling
from .policy.standing import Vouched
from .policy.target import NO_SIGNING, Target, Targeting
from .report import LAG_GRACE_S, make_report
from .rollout.census import Census, take_census
from .rollout.phases import Event, Step, next_wait_s, step
from .rollout.progress import Elapsed, Progress
from .southbound import Southbound

if TYPE_CHECKING:
    from .enrolment import Enrolment

LOCK = "ovn_ipsec_northd"
EVALUATE_EVERY_S = 0.2
EVALUATE_SHARE = 5.0
"""Evaluations start at least this many times their duration apart, however often rows change."""
REPORT_EVERY_S = 1.0
RETRY_AFTER_S = 1.0
OFFERS = (
    Offer("status", "[json]", 0, 1, "Say what the program waits for or does, and its problems."),
    Offer("pause", "", 0, 0, "Give up the lock: another one takes over, or nobody decides."),
    Offer("resume", "", 0, 0, "Take part again after pause."),
    Offer("is-paused", "", 0, 0, "Print true or false."),
    Offer("is-ready", "", 0, 0, "Print true or false: whether systemd was told READY."),
)
NO_NB = "the northbound has no row in NB_Global: ovn-northd or ovn-nbctl init makes it"
NO_SB = "the southbound has no row in SB_Global: ovn-northd makes it"


class Northd:
    """NB's policy into SB, at the pace that the chassis' reports allow."""

    def __init__(  # noqa: PLR0913 - the outside world, which tests bring themselves
        self,
        service: Process,
        nb: Session,
        sb: Session,
        ports: Session,
        enrolment: Enrolment | None = None,
        *,
        clock: Clock = SYSTEM,
    ) -> None:
        """Build it; serve() opens and drives everything.

        Args:
            service: The process.
            nb: Northbound.
            sb: Southbound; holds LOCK.
            ports: A second session to the southbound, for ports, while a rule selects a network.
            enrolment: The certificate authority, if this process has one.
            clock: Where the time comes from.
        """
        self._service, self._nb, self._sb, self._enrolment = service, nb, sb, enrolment
        self._clock = clock
        self._members = Members(ports)
        self._northbound, self._southbound = Northbound(nb), Southbound(sb)
        self._log = structlog.get_logger()
        self._progress, self._damping = Progress(), Damping()
        self._settling, self._targeting = Settling(), Targeting()
        self._vouched: Vouched | None = None
        self._doubted = True
        """Whether NB seems to be a database other than the one the policy in force came from."""
        self._foreign = False
        """Whether SB belongs to a newer release: then nothing is written there."""
        self._cluster: metrics.Cluster | None = None
        self._noted: tuple[InputError, ...] = ()
        """What the last evaluation refused."""
        self._journal, self._waits = Journal(), WaitLog()
        self._doing = self._lacking = ""
        """The missing row without which nothing can be decided."""
        self._paused = self._told = self._ready = self._active = False
        self._dirty = True
        self._due: float | None = None
        self._resume_at = self._evaluate_at = self._reported = float("-inf")

    def serve(self) -> None:
        """Serve until told to stop."""
        self.open()
        while not self._service.stopping:
            self.turn()
            poller = ovs.poller.Poller()
            self.wait(poller)
            poller.block()
        self.close()

    def open(self) -> None:
        """Start the process and the connections."""
        self._service.open()
        self._offer_commands()
        self._nb.open()
        self._sb.open()
        self._log.info("started", nb=self._nb.remotes, sb=self._sb.remotes)
        if self._enrolment is not None:
            # Also one on standby says at once that it could not sign.
            self._enrolment.look(self._clock.monotonic())

    def turn(self) -> None:
        """Do one pass: observe, decide, apply, report. After a failure, the next one waits 1 s."""
        now = self._clock.monotonic()
        try:
            self._service.poll()
            if now >= self._resume_at:
                self._turn(now)
                self._meter(now)
                self._tell(now)
        except Exception:
            self._log.exception("turn_failed")
            self._resume_at = now + RETRY_AFTER_S
            self._forget()

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller with everything that turn() could act on."""
        now = self._clock.monotonic()
        self._service.wait(poller)
        if now < self._resume_at:
            poller.timer_wait(_ms(self._resume_at - now))
        else:
            if self._puts_off(now):
                # What comes until then is read at once, and decided about once.
                poller.timer_wait(_ms(EVALUATE_EVERY_S))
            else:
                self._nb.wait(poller)
                self._sb.wait(poller)
                self._members.wait(poller)
            if self._waits.wake_at() != float("inf"):
                poller.timer_wait(_ms(self._waits.wake_at() - now))
            due = self._next()
            if due is not None and not self._writing:
                poller.timer_wait(_ms(due - now))
        if self._service.stopping:
            poller.immediate_wake()

    def close(self) -> None:
        """Close what open() opened; nothing else is undone."""
        self._log.info("stopped")
        self._nb.close()
        self._sb.close()
        self._members.close()
        self._service.close()

    def _forget(self) -> None:
        """Start over with nothing remembered: a pass that was broken off may have lost changes."""
        self._northbound, self._southbound = Northbound(self._nb), Southbound(self._sb)
        self._targeting = Targeting()
        self._dirty = True
        try:
            self._members.close()
        except Exception:
            self._log.exception("networks_not_closed")

    def _next(self) -> float | None:
        """When the next pass has something to do even if nothing happens."""
        times = [] if self._due is None else [self._due]
        if self._enrolment is not None and self._active and self._ready:
            times.append(max(0.0, self._enrolment.wake_at()))
        return min(times, default=None)

    def _wake_at(self, when: float | None) -> None:
        if when is not None:
            self._due = when if self._due is None else min(self._due, when)

    def _puts_off(self, now: float) -> bool:
        """Whether something has changed about which nothing can be decided yet."""
        return self._dirty and now < self._evaluate_at and not self._writing

    @property
    def _writing(self) -> bool:
        return self._nb.busy or self._sb.busy

    def _turn(self, now: float) -> None:
        changed = [session.receive() for session in (self._nb, self._sb)]
        self._dirty |= any([*changed, self._members.receive()])
        self._note_failures(now)
        self._note_role()
        self._tell_ready()
        if self._writing or not (self._nb.loaded and self._sb.loaded):
            return
        self._note_ready()
        looked = self._look(now)
        if not self._dirty and (self._due is None or now < self._due):
            if looked:
                self._enrol(now)
            return
        if now < self._evaluate_at:
            self._wake_at(self._evaluate_at)
            return
        self._evaluate_at, self._dirty, self._due = now + EVALUATE_EVERY_S, False, None
        nb, sb = self._northbound.observe(), self._southbound.observe()
        self._lacking = NO_NB if nb is None else NO_SB if sb is None else ""
        if nb is not None and sb is not None:
            self._members.want(self._targeting.named(nb, sb.policy), self._hold_s(nb))
            sb = self._members.add_to(sb, now)
            sb = replace(sb, chassis=self._damping.update(sb.chassis, now))
            for due in (self._members.deadline(), self._damping.deadline()):
                self._wake_at(due)
            self._reconcile(nb, sb, now)
            took_s = self._clock.monotonic() - now
            self._evaluate_at = max(self._evaluate_at, now + took_s * EVALUATE_SHARE)

    def _hold_s(self, nb: NbView) -> float:
        """How long a membership lasts; while NB is in doubt, at least the default."""
        asked = HOLD_S if nb.asked.policy is None else nb.asked.policy.hold_s
        return max(asked, HOLD_S) if self._doubted else asked

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
        """Tell systemd, once, that the program does what it can.

        Where a database cannot be reached that is to wait for it: systemd would end the program
        after 90 s, again and again, and whoever installs it before the databases would wait.
        """
        sessions = (self._nb, self._sb)
        away = any(one.problem and not one.connected for one in sessions)
        if not self._told and (away or all(one.loaded for one in sessions)):
            self._told = True
            notify_systemd("READY=1")

    def _note_ready(self) -> None:
        """Note that both databases have been read."""
        if not self._ready:
            self._ready = True
            self._log.info("ready")

    def _note_role(self) -> None:
        if not self._sb.busy:
            self._sb.hold_lock(not self._paused)
        active = self._sb.has_lock and not self._paused
        if active != self._active:
            self._active = active
            self._cluster = self._vouched = None
            self._dirty = True
            self._log.info("role", role=self._role)

    def _reconcile(self, nb: NbView, sb: SbView, now: float) -> None:
        """Decide, and write what differs; only the active process writes or logs."""
        if self._progress.note(sb.policy, now) and sb.policy is not None:
            self._journal.reached(sb.policy, self._role)
        if not self._active:
            return
        self._foreign = sb.error is not None and sb.error.key == SCHEMA
        elapsed = self._progress.elapsed(now, self._clock.utc_now())
        self._vouched = self._vouched and self._vouched.after(nb)
        written = self._settling.written_classes(sb)
        signing = NO_SIGNING if self._enrolment is None else self._enrolment.signing
        target, ledger = self._targeting.decide(nb, sb, written, signing, self._vouched)
        self._doubted = target.doubt is not None
        census = take_census(sb.policy, ledger)
        decided = step(nb, sb, target, census, elapsed)
        plan = evaluate(decided.policy, sb.policy, ledger)
        self._note_refusals(target, sb, plan, now)
        published = self._apply(decided, plan.changes, now)
        if published is not None and decided.event is not None and not self._doubted:
            self._vouched = Vouched.by(nb, published.generation)
        self._enrol(now)
        if decided.event is None:
            self._report(nb, sb, target, census, elapsed)
        for wait_s in (
            next_wait_s(sb.policy, elapsed, held=decided.held),
            LAG_GRACE_S - elapsed.step_s,
        ):
            if wait_s > 0.0:
                self._wake_at(now + wait_s)

    def _apply(
        self, decided: Step, changes: tuple[EncapChange, ...], now: float
    ) -> ClusterPolicy | None:
        """Write a policy change with its encaps in one transaction; repairs once they have settled.

        Returns:
            What was sent; None if there was nothing to write, or nothing can be written now. The
            session wakes the loop once it can write again.
        """
        policy, event = decided.policy, decided.event
        if policy is None or not self._sb.can_write:
            return None
        ended = event is Event.ADVANCE and policy.phase is Phase.OFF
        if decided.held:
            changes = ()
        elif ended or event in (Event.CHANGE, Event.RESTORE, Event.DISABLE):
            self._settling.stated(changes)
        else:
            changes = self._settling.due(changes, now)
            self._wake_at(self._settling.deadline())
            if changes or event is not None:
                self._settling.repaired(changes, now)
        if event is None and not changes:
            return None
        self._southbound.publish(policy, changes)
        if event in (Event.FOLLOW, Event.EASE):
            self._progress.note_rows(now)
        self._journal.written(policy, event, changes)
        return policy

    def _look(self, now: float) -> bool:
        """Check the authority's records if it is time to; only news there makes us evaluate."""
        enrolment = self._enrolment
        if enrolment is None or not self._active or now < enrolment.wake_at():
            return False
        self._dirty |= enrolment.look(now)
        return True

    def _enrol(self, now: float) -> None:
        """Answer the chassis that request a certificate."""
        if self._enrolment is None or self._sb.busy or self._foreign:
            return
        southbound = self._southbound
        wall = self._clock.utc_now()
        answers = self._enrolment.answer(southbound.asked(), southbound.remotes(), wall)
        self._log_refusals(now)
        if answers:
            southbound.publish_certificates(answers)

    def _report(
        self, nb: NbView, sb: SbView, target: Target, census: Census, elapsed: Elapsed
    ) -> None:
        """Report to NB what SB carries now, never what is still being written."""
        if self._sb.busy:
            return
        now = self._clock.monotonic()
        report = make_report(nb, sb, target, census, elapsed)
        self._cluster = metrics.Cluster(
            state=report[STATE],
            generation=0 if sb.policy is None else sb.policy.generation,
            errors=len(target.errors) + (sb.error is not None),
            census=census,
        )
        if report == nb.report:
            return
        old, new = nb.report.get(STATE, ""), report[STATE]
        moved = old.removesuffix(DEGRADED) != new.removesuffix(DEGRADED)
        if not moved and now < self._reported + REPORT_EVERY_S:
            self._wake_at(self._reported + REPORT_EVERY_S)
            return
        self._reported = now
        self._journal.state(old, new, now)
        self._northbound.publish(report)

    def _meter(self, now: float) -> None:
        """Hand over what metrics are made of, if they are enabled."""
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

    def _note_refusals(self, target: Target, sb: SbView, plan: SbPlan, now: float) -> None:
        noted: list[InputError] = [*target.errors, *([sb.error] if sb.error else [])]
        noted += [
            error
            for chassis in sb.chassis.values()
            for error in (chassis.digest_error, chassis.encap_error)
            if error is not None
        ]
        self._noted = (*noted, *plan.refusals)
        self._log_refusals(now)

    def _log_refusals(self, now: float) -> None:
        asking = () if self._enrolment is None else self._enrolment.refusals
        self._wake_at(self._journal.refused((*self._noted, *asking), now))

    def _tell(self, now: float) -> None:
        """Say what is waited for or done, where that has changed."""
        nb, sb = (
            Reached(where=one.remotes, up=one.connected, problem=one.problem)
            for one in (self._nb, self._sb)
        )
        seen = Situation(
            northbound=nb,
            southbound=sb,
            lacking=self._lacking,
            authority="" if self._enrolment is None else self._enrolment.problem,
            role=self._role,
            cluster=self._cluster,
        )
        self._waits.note(waits_for(seen), now)
        self._doing = headline(seen)
        self._service.tell(self._doing)

    @property
    def _role(self) -> str:
        if self._paused:
            return "paused"
        return "active" if self._active else "standby"

    def _offer_commands(self) -> None:
        runs: tuple[Callable[[list[str]], str], ...] = (
            self._status,
            lambda _: self._pause(True),
            lambda _: self._pause(False),
            lambda _: str(self._paused).lower(),
            lambda _: str(self._ready).lower(),
        )
        for offer, run in zip(OFFERS, runs, strict=True):
            self._service.command(*offer.shape, run)

    def _pause(self, paused: bool) -> str:
        self._paused = paused
        return ""

    def _status(self, argv: list[str]) -> str:
        policy = self._progress.policy
        found = {
            "status": self._role,
            "doing": self._doing,
            "phase": str(policy.phase if policy else Phase.OFF),
            "generation": policy.generation if policy else 0,
            "northbound": "connected" if self._nb.connected else "not connected",
            "southbound": "connected" if self._sb.connected else "not connected",
        }
        if argv == ["json"]:
            return json.dumps({**found, "problems": self._problems()}, indent=1)
        lines = [f"{key.capitalize()}: {text}" for key, text in found.items()]
        return "\n".join([*lines, *(f"Problem: {problem}" for problem in self._problems())])

    def _problems(self) -> list[str]:
        problem = "" if self._enrolment is None else self._enrolment.problem
        return [*([f"authority: {problem}"] if problem else []), *self._service.problems()]


def _ms(seconds: float) -> int:
    """Whole milliseconds, rounded up, so that a timer never ends too early."""
    return max(0, int(seconds * 1000)) + 1
