# SPDX-License-Identifier: Apache-2.0
"""Shell: everything that depends on the name of this chassis, created and dropped as a whole.

That is: its plan, its connections, the mirror of the IKE daemon, the link to the southbound, and
what has been acknowledged there. Another name, another southbound or another IKE daemon makes a new
object that knows nothing of the old one. Until the new one has seen a policy to obey, the old one
continues with what it last knew; and what is in force in the kernel stays until the new one has
decided every pair.
"""

from __future__ import annotations

from dataclasses import replace

import ovs.poller
import structlog

from ovn_ipsec.model.observation import Unknown
from ovn_ipsec.model.policy import NO_POLICY, ClusterPolicy, Mode, Phase, Profile
from ovn_ipsec.model.status import Room
from ovn_ipsec.schema.open_vswitch import LocalChassis
from ovn_ipsec.schema.report import REQUEST, format_digest

from . import report
from .changes import log_change
from .identity import Identity
from .ike.apply import apply_steps
from .ike.keyring import Keyring
from .ike.link import IkeLink
from .obedience import Obedience
from .outside import Outside
from .plan.agent import Agent
from .plan.connection import ConnName, fitting
from .plan.guard import ALWAYS, GuardState
from .plan.latch import Former
from .plan.pace import Pace
from .plan.pair.facts import NOTHING_SEEN, Context
from .plan.pair.record import Decision
from .plan.pair.steps import Load, Unload
from .southbound import ChassisSeen, Southbound, SouthboundSeen
from .trust import Trust

_log = structlog.get_logger()

BATCH = 64
"""Pairs decided in one pass, so that events and commands never wait for long."""
RETRY_S = 1.0
"""Until a retry: the IKE daemon refused a step, a pair could not be decided, the disk is full."""
REPORT_S = 1.0
"""Minimum time between two writes of the digest, unless it says what a phase's gate waits for."""

Decisions = list[tuple[ConnName, Decision]]


class Chassis:
    """One chassis under one name at one southbound."""

    def __init__(self, identity: Identity, outside: Outside) -> None:
        """Create all of it; open() connects.

        Args:
            identity: Who, where and with which IKE daemon.
            outside: The edges.

        Raises:
            IkeError: The address of the IKE daemon is invalid.
        """
        self.identity = identity
        self._clock, self._state, self._knock = outside.clock, outside.state, outside.knock
        backend = outside.ike(identity.ike)
        keys = Keyring(outside.state)
        self.trust = Trust(outside.credentials(), keys, backend.abilities)
        self.agent = Agent(identity.name, self.trust.configs)
        self.agent.abilities = backend.abilities
        self.ike = IkeLink(backend, keys, outside.state.mark, outside.clock.monotonic)
        self.southbound = Southbound(outside.southbound(identity.southbound), identity.name)
        self.seen: SouthboundSeen | None = None
        self.applied: ClusterPolicy = NO_POLICY
        """The last policy that was acknowledged."""
        self.synced = False
        """Whether every pair has been decided once: only then may the guard be changed."""
        self._obedience = Obedience(outside.state)
        self._ready = False
        self._follows_rows = False
        """Whether rows are followed although the policy cannot be read."""
        self._gone: dict[str, None] = {}
        """Chassis whose rows have disappeared meanwhile."""
        self._left = False
        self._stale = True
        """Whether something has arrived that was not processed."""
        self._phase_since = float("-inf")
        self._pace = Pace()
        self._looks: dict[ConnName, None] = {}
        self._looked: set[ConnName] = set()
        self._failed: dict[ConnName, None] = {}
        self._decided: dict[ConnName, None] = {}
        self._loaded_keys: dict[ConnName, frozenset[str]] = {}
        """By pair, the ids of the private keys of what the IKE daemon was given for it."""
        self._report_at = float("-inf")
        self._awaited = False  # whether a gate of northd waits for what was not written yet
        self._unsaid = True
        self._complete: int | None = None
        """The last generation for which it was reported that every pair is up."""
        self._said: tuple[dict[str, str], str] | None = None
        """The keys and the pin that were last written to our rows."""

    def open(self) -> None:
        """Connect to the southbound."""
        self.southbound.session.open()
        _log.info("southbound_connecting", remote=self.identity.southbound.remotes)

    def leave(self) -> None:
        """Leave the southbound, because there is another, and go on with what it last said."""
        self.southbound.session.close()
        self._left = True

    def close(self) -> None:
        """Drop both connections; SAs, connections and guard stay as they are."""
        self.leave()
        self.ike.backend.close()
        self.trust.keeper.watch.close()

    # --- what comes in ---------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether any policy of the southbound has been obeyed here."""
        return self._ready

    @property
    def held_because(self) -> str:
        """Why what is in force is kept, whatever the southbound says; empty if it is obeyed."""
        return self._obedience.held_because

    @property
    def has_row(self) -> bool:
        """Whether the southbound has a chassis of our name."""
        return self.seen is not None and self.seen.has_row

    @property
    def connected(self) -> bool:
        """Whether the southbound is connected now."""
        return not self._left and self.southbound.session.connected

    def observe_southbound(self, *, guarded: bool) -> None:
        """Process what has arrived from the southbound.

        While its policy cannot be read, rows still tell of new peers and of ports that move, and
        the last obeyed policy is applied to them; pairs with chassis that have disappeared are kept
        as they are. From a southbound whose policy is refused nothing is processed.

        Args:
            guarded: Whether something is in force on this host.
        """
        now = self._clock.monotonic()
        self._obedience.store(now)
        if self._left:
            return
        self._stale |= self.southbound.receive(now)
        put_off = self.southbound.wake_at()
        if not self.southbound.loaded:
            return
        held = self.held_because and not self._follows_rows
        if not self._stale and (held or put_off is None or now < put_off):
            return
        try:
            self._take_in(now, guarded=guarded)
        except Exception:
            # What was taken out of the link has to come again.
            self.southbound.start_over()
            raise
        self._stale = False

    def _take_in(self, now: float, *, guarded: bool) -> None:
        self.seen = seen = self.southbound.observe()
        policy = self._obedience.admit(seen.policy, guarded=guarded)
        self._follows_rows = self._ready and policy is None and isinstance(seen.policy, Unknown)
        if policy is None:
            if self._follows_rows:
                self._take_in_rows(now)
            return
        gone, self._gone = self._gone, {}
        self.southbound.give_again(gone)
        rows = self.southbound.changed_chassis(now)
        phase = self.agent.policy.phase
        if self.agent.put(policy, [(row.name, row.parsed) for row in rows]):
            if policy.phase is not phase:
                self._phase_since = now
            _log.info("policy", generation=policy.generation, phase=policy.phase.value)
        self._note(rows, now)
        self._ready = True
        self._obedience.note(policy)
        self._obedience.store(now)

    def _take_in_rows(self, now: float) -> None:
        """Follow the existing rows, with the last obeyed policy."""
        rows = self.southbound.changed_chassis(now)
        self._gone.update(dict.fromkeys(row.name for row in rows if row.parsed is None))
        rows = [row for row in rows if row.parsed is not None]
        self.agent.put(None, [(row.name, row.parsed) for row in rows])
        self._note(rows, now)

    def _note(self, rows: list[ChassisSeen], now: float) -> None:
        self._number()
        self.trust.note(rows, now)
        for error in self.agent.take_refusals():
            _log.error("row_refused", reason=error.diagnostics())

    def _number(self) -> None:
        """Assign reqids to connections that have none."""
        for name in self.agent.unnumbered():
            reqids = fitting(self._state.reqids(name), self.agent.abilities.reqid_max)
            self.agent.put_reqids(name, reqids)

    def observe_credentials(self, here: LocalChassis) -> None:
        """Check files and certificates, if it is time to."""
        now, wall = self._clock.monotonic(), self._clock.utc_now()
        self.trust.keeper.heed(now)
        self.trust.refresh(self.agent, here, self.seen if self._ready else None, (now, wall))

    # --- decide ----------------------------------------------------------------------------------

    def decide(self, former: Former) -> Decisions:
        """Decide about the pairs that are due, each independently.

        Args:
            former: What was in force before; it matters until every pair has been decided once.
        """
        now, agent = self._clock.monotonic(), self.agent
        if not self._ready:
            return []
        if not self.synced:
            agent.former = former
        self._number()
        decisions: Decisions = []
        for name in agent.due(now, BATCH):
            context = self._context(now)
            if self.ike.ready and name not in self._looked and agent.retries(name, context):
                # The IKE daemon is asked after the guard is in place: in this pass, for the next.
                self._looks[name] = None
                continue
            self._looked.discard(name)
            self._decided[name] = None
            decision = self._decide_one(name, context)
            if decision is not None:
                decisions.append((name, decision))
        if agent.idle and not self._looks and not self.synced:
            self.synced = True
            agent.settle()
        return decisions

    def _decide_one(self, name: ConnName, context: Context) -> Decision | None:
        agent = self.agent
        before = agent.records.get(name)
        try:
            decision = agent.decide(name, context)
        except Exception as error:  # noqa: BLE001 - one pair's failure is one pair's
            self._fail(name, error)
            return None
        if decision is None:
            return None
        if decision.took is not None:
            self._pace = self._pace.take(decision.took, context.now)
        log_change(before, decision.record)
        return decision

    def _fail(self, name: ConnName, error: Exception) -> None:
        """Report a pair for which a decision or a step raised an exception, and retry it later."""
        cause = report.fault(error)
        if self.agent.undecided.get(name) != cause:
            _log.exception("pair_undecided", connection=name)
        self.agent.put_failure(name, cause)
        self.agent.touch_at(name, self._clock.monotonic() + RETRY_S)

    def _context(self, now: float) -> Context:
        agent, ike = self.agent, self.ike
        return Context(
            phase=agent.policy.phase,
            now=now,
            this_chassis=agent.this_chassis,
            recovering=now < ike.recovering_until,
            daemon_ready=ike.ready,
            slots=self._pace.slots(now),
            phase_since=self._phase_since,
            profiles=frozenset(Profile) if agent.able is None else agent.able,
            abilities=agent.abilities,
            quarantine=agent.policy.quarantine,
        )

    def early_guard(self, here: LocalChassis) -> GuardState | None:
        """What to deny under enforce while it is not known which pairs may be clear."""
        if not self._ready or self.synced or self.agent.policy.phase is not Phase.ENFORCE:
            return None
        this = self.agent.world.get(self.identity.name)
        encaps = () if this is None else this.encaps
        return GuardState(
            ports=ALWAYS | here.encap_ports | {one.encap.port for one in encaps},
            local=here.encap_ips | {one.encap.ip for one in encaps},
            may_clear=frozenset(),
        )

    # --- the IKE daemon --------------------------------------------------------------------------

    def drive_ike(self, decisions: Decisions) -> bool:
        """Apply what was decided, then read what the daemon reports.

        Returns:
            Whether the daemon came or went: then the kernel has to be checked.
        """
        for name, decision in decisions:
            try:
                self._apply(name, decision)
            except Exception as error:  # noqa: BLE001 - one pair's failure is one pair's
                self._fail(name, error)
        for name, reason in self.ike.backend.flush().items():
            self._refuse(name, reason)
        now = self._clock.monotonic()
        came_or_went = self.ike.sync(self.agent, now)
        looks, self._looks = self._looks, {}
        for name in looks:
            # Whatever comes of reading it, the pair is decided again.
            self.agent.touch(name)
        for name in looks:
            self.ike.look(self.agent, name)
            self._looked.add(name)
        if self.agent.idle and self.ike.ready and self.trust.keys.untidy(now):
            shared = self.trust.configs.shared_ids()
            own = frozenset().union(*self._loaded_keys.values())
            self.trust.keys.tidy(self.ike.backend, shared, own, now)
        return came_or_went

    def skip_ike(self) -> None:
        """Leave the daemon alone, because another program drives it."""
        self.ike.backend.close()
        for name in self._looks:
            self.agent.touch(name)
        self._looks = {}

    def _apply(self, name: ConnName, decision: Decision) -> None:
        agent = self.agent
        if decision.mark:
            self._state.keep_mark(name, decision.mark)
        if decision.knock and decision.record is not None:
            self._knock(decision.record.pair)
        seen = agent.seen.get(name, NOTHING_SEEN)
        if decision.steps and self.ike.ready:
            after, failure = apply_steps(self.ike.backend, decision.steps, seen)
            agent.put_seen(name, after)
            if failure is not None:
                self._refuse(name, failure.diagnostics())
                return
        self._note_keys(name, decision)
        self._failed.pop(name, None)
        if decision.record is None or decision.record.quarantined:
            self.trust.keys.dirty()
        if decision.record is None and agent.intent(name) is None:
            self._loaded_keys.pop(name, None)
            self._state.release(name)
            agent.release(name)

    def _refuse(self, name: ConnName, reason: str) -> None:
        """Note what the IKE daemon refused, and load it later: somebody may have unloaded it."""
        self.agent.forget_config(name)
        self.agent.put_error(name, reason)
        self.agent.touch_at(name, self._clock.monotonic() + RETRY_S)
        self._failed[name] = None
        _log.warning("step_failed", connection=name, reason=reason)

    def _note_keys(self, name: ConnName, decision: Decision) -> None:
        """Remember which keys the connections in the IKE daemon use."""
        for step in decision.steps:
            match step:
                case Load(config=config):
                    ids = (proof.key_id for proof in config.proofs)
                    self._loaded_keys[name] = frozenset(one for one in ids if one)
                case Unload():
                    self._loaded_keys.pop(name, None)
                case _:
                    pass

    # --- acknowledge and report ------------------------------------------------------------------

    def acknowledge(self, blockers: list[str]) -> None:
        """Acknowledge the policy, once everything that it demands is in force here.

        Args:
            blockers: What on this host prevents preparing.
        """
        agent, now = self.agent, self._clock.monotonic()
        if not self._ready or not self.synced or not agent.idle or self._looks:
            return
        if agent.undecided or self.applied == agent.policy or agent.settling(now):
            return
        if agent.policy.phase is Phase.PREPARE and (blockers or self._unprepared()):
            return
        self.applied = agent.policy
        self._awaited = True

    def _unprepared(self) -> bool:
        """Whether something that prepare is meant to complete is still missing."""
        if self._failed or not self.ike.ready or not self.trust.keys.settled:
            return True
        return bool(self.agent.policy.auth) and self._way_is_missing()

    def _way_is_missing(self) -> bool:
        wanted = any(record.mode is not Mode.OFF for record in self.agent.records.values())
        return wanted and self.agent.policy.auth[0] not in self.trust.auths

    def problems(self) -> list[str]:
        """What is wrong with this chassis, most important first."""
        agent, policy = self.agent, self.agent.policy
        words: list[str] = []
        if not self._left:
            problem = self.southbound.session.problem
            words.append(problem and f"southbound: {problem}")
        if self.held_because:
            words.append(self.held_because)
        words += self.trust.problems(policy, self.identity.southbound.remotes)
        words.append(self.ike.problem and f"IKE daemon: {self.ike.problem}")
        words += report.undecided_problems(agent.undecided)
        words.append(report.profile_problem(agent))
        return [word for word in words if word]

    def refusals(self, here: LocalChassis) -> str:
        """Summarise what was refused of the rows and of the operator's settings."""
        return report.refusal_summary((*here.errors, *self.agent.all_refusals()))

    def report(self, problems: list[str], *, makes_row: bool, room: Room | None) -> None:
        """Update our rows in the southbound, if something differs and it is time.

        Args:
            problems: Everything that is wrong on this host.
            makes_row: Whether we have to create the Chassis_Private row.
            room: How large packets may be; None: not known.
        """
        now = self._clock.monotonic()
        if self._left or not self.southbound.loaded or self.seen is None:
            return
        keeper, version = self.trust.keeper, self.ike.version
        digest = report.digest(
            self.agent,
            self.applied,
            daemon=f"{self.ike.backend.kind} {version}" if version else "",
            problems=problems,
            expires=keeper.expires,
        )
        digest = replace(digest, auths=self.trust.auths, warning=keeper.warning, room=room)
        keys = format_digest(digest)
        if keeper.request:
            keys[REQUEST] = keeper.request
        complete = report.awaited(digest)
        if complete not in (None, self._complete):
            self._complete, self._awaited = complete, True
        if now < self._report_at and not self._awaited:
            # Only news has to be written then; changes by others are seen in any pass.
            self._unsaid = (keys, keeper.pin) != self._said
            return
        self._report_at = now + REPORT_S
        self._unsaid = not self.southbound.publish(keys, keeper.pin, makes_row=makes_row)
        if not self._unsaid:
            self._said, self._awaited = (keys, keeper.pin), False

    def take_decided(self) -> dict[ConnName, None]:
        """Return the pairs about which something was decided since the last call."""
        decided, self._decided = self._decided, {}
        return decided

    # --- wait ------------------------------------------------------------------------------------

    def wait_southbound(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller for the southbound."""
        if not self._left:
            self.southbound.wait(poller, self._clock.monotonic())

    def wait(self, poller: ovs.poller.Poller) -> list[float]:
        """Arm the poller for everything that can happen.

        Returns:
            The times at which there is something to do even if nothing happens, monotonic seconds.
        """
        self.wait_southbound(poller)
        times = [self.trust.keeper.wake_at()]
        numbers = [self.trust.keeper.watch.fileno(), self.ike.backend.fileno()]
        for number in (number for number in numbers if number >= 0):
            poller.fd_wait(number, ovs.poller.POLLIN)
        if self._ready and not self.agent.idle:
            poller.immediate_wake()
        if self._unsaid and not self._left and self.southbound.loaded:
            times.append(max(self._report_at, self._clock.monotonic() + 0.05))
        held = self.held_because and not self._follows_rows
        put_off = None if held or self._left else self.southbound.wake_at()
        waits = (
            self._obedience.wake_at(),
            self.agent.wake_at(),
            self.ike.wake_at(),
            self.trust.keys.wake_at() if self.ike.ready else None,
            self.trust.wake_at() if self._ready else None,
            put_off,
        )
        return [*times, *(time for time in waits if time is not None)]
