# SPDX-License-Identifier: Apache-2.0
"""Pure: everything that this chassis knows, by pair, and which pairs have to be looked at.

No I/O and no clock of its own. The shell puts in what it saw (rows, SAs, kernel entries), asks for
the pairs that are due, and gets one Decision for each. Work grows with what changed: a row that
comes in marks the pairs of its chassis, an event of the IKE daemon marks one pair, and only a new
policy marks all.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import ChassisName, IpAddress
from ovn_ipsec.model.policy import NO_POLICY, ClusterPolicy, Mode, Phase, Profile
from ovn_ipsec.model.status import PairCounts, PairState
from ovn_ipsec.schema.encap import ParsedChassis

from .guard import ClearFlow, ClearPair, GuardState
from .ike import ConnConfig, ConnName, IkeSa, conn_name
from .pair import LINGER_S, clear_flows, decide, remove_steps
from .record import NOTHING_SEEN, ConnSeen, Context, Decision, PairRecord
from .weakening import Statement, refusal, rule
from .world import PairIntent, World

MakeConfig = Callable[[PairIntent], ConnConfig | None]
WasClosed = Callable[[PairRecord], bool]


class Agent:
    """The state of one chassis; every method is a function of it and its arguments."""

    def __init__(self, this_chassis: ChassisName) -> None:
        """Start knowing nothing, with the policy that says nothing."""
        self.this_chassis = this_chassis
        self.world = World()
        self.policy: ClusterPolicy = NO_POLICY
        self.records: dict[ConnName, PairRecord] = {}
        self.seen: dict[ConnName, ConnSeen] = {}
        self.refusals: dict[str, tuple[InputError, ...]] = {}
        self.counts: Counter[PairState] = Counter()
        self.able: frozenset[Profile] | None = None
        """Cipher suites that the IKE daemon can do, when it was last asked; None: it never was."""
        self.profiles: Counter[Profile] = Counter()
        """How many pairs are to have each cipher suite."""
        self.was_closed: WasClosed = lambda _record: False
        self._intents: dict[ConnName, PairIntent] = {}
        self._statements: dict[ConnName, Statement] = {}
        self._news: dict[str, InputError] = {}
        self._by_peer: dict[str, frozenset[ConnName]] = {}
        self._dirty: dict[ConnName, None] = {}
        self._timers: list[tuple[float, ConnName]] = []
        self._strays: dict[ConnName, float] = {}
        self._clear: dict[ConnName, frozenset[ClearFlow]] = {}
        self._may_clear: set[ClearFlow] = set()
        self._kept_flows: frozenset[ClearFlow] | None = None
        self._latched: set[ConnName] = set()
        self._ports: Counter[int] = Counter()

    # --- what comes in ---------------------------------------------------------------------------

    def put(
        self, policy: ClusterPolicy | None, rows: Iterable[tuple[str, ParsedChassis | None]] = ()
    ) -> bool:
        """Take in what one look at the southbound found, as one change.

        A weaker label counts only together with the generation that came in its transaction.

        Args:
            policy: None: it says none, and what held goes on. A new one marks every pair.
            rows: Chassis rows that changed; with None one that is gone.

        Returns:
            Whether the policy was new.
        """
        before, self.policy = self.policy, policy or self.policy
        is_new = self.policy != before
        if self.policy.phase is Phase.OFF:
            self._statements.clear()
        peers: set[str] = set()
        for name, parsed in rows:
            peers |= self.world.put(name, parsed)
        if self.this_chassis in peers or (is_new and _treating(before) != _treating(self.policy)):
            peers |= {*self.world.names(), *self._by_peer}
        for peer in peers:
            self._refresh(peer)
        if before.generation != self.policy.generation:
            self._forget_statements()
        if is_new:
            if self.policy.phase in (Phase.OFF, Phase.RELAX):
                self._latched.clear()
            self.touch_all()
        return is_new

    def put_policy(self, policy: ClusterPolicy) -> bool:
        """Take in a policy. Returns whether it was new."""
        return self.put(policy)

    def put_chassis(self, name: str, parsed: ParsedChassis | None) -> None:
        """Take in a chassis row, or with None that it is gone."""
        self.put(None, [(name, parsed)])

    def put_sas(self, name: ConnName, sas: tuple[IkeSa, ...]) -> None:
        """Take in the SAs of one connection."""
        self.put_seen(name, replace(self.seen.get(name, NOTHING_SEEN), sas=sas))

    def put_seen(self, name: ConnName, seen: ConnSeen) -> None:
        """Take in all that is known of one connection; what is new marks its pair."""
        if seen == self.seen.get(name, NOTHING_SEEN):
            return
        if seen == NOTHING_SEEN:
            self.seen.pop(name, None)
        else:
            self.seen[name] = seen
        self.touch(name)

    def put_error(self, name: ConnName, error: str) -> bool:
        """Remember why a pair is not up. Returns whether that is news."""
        record = self.records.get(name)
        if record is None or record.error == error:
            return False
        self.records[name] = replace(record, error=error)
        return True

    def touch(self, name: ConnName) -> None:
        """Mark a pair to be looked at."""
        self._dirty[name] = None

    def touch_at(self, name: ConnName, when: float) -> None:
        """Mark a pair to be looked at later, monotonic seconds."""
        heapq.heappush(self._timers, (when, name))

    def touch_all(self) -> None:
        """Mark every pair to be looked at."""
        self._dirty.update(dict.fromkeys(chain(self.records, self._intents, self.seen)))

    def touch_peer(self, peer: str) -> None:
        """Mark the pairs with one chassis to be looked at."""
        self._dirty.update(dict.fromkeys(self._by_peer.get(peer, ())))

    def _refresh(self, peer: str) -> None:
        found, errors = self.world.pairs_with(self.this_chassis, peer, self.policy)
        before = self._by_peer.get(peer, frozenset())
        intents: dict[ConnName, PairIntent] = {}
        for offered in found:
            name = conn_name(offered.pair)
            ruling = rule(self._statements.get(name), offered, self.policy)
            intents[name] = ruling.intent
            if ruling.statement is not None:
                self._statements[name] = ruling.statement
            if ruling.refused:
                errors = (*errors, refusal(self.this_chassis, ruling, offered))
        for name in before - intents.keys():
            self._intents.pop(name, None)
            self.touch(name)
        for name, intent in intents.items():
            if self._intents.get(name) != intent:
                self._intents[name] = intent
                self.touch(name)
        if intents:
            self._by_peer[peer] = frozenset(intents)
        else:
            self._by_peer.pop(peer, None)
        known = {error.diagnostics() for error in self.refusals.pop(peer, ())}
        if errors:
            self.refusals[peer] = errors
        said = ((error.diagnostics(), error) for error in errors)
        self._news.update((text, error) for text, error in said if text not in known)

    def _forget_statements(self) -> None:
        """Under a new generation, of pairs that there are none of any more."""
        for name in [n for n in self._statements if n not in self._intents]:
            if name not in self.records:
                del self._statements[name]

    def take_refusals(self) -> list[InputError]:
        """What was refused since the last call, each once."""
        news, self._news = self._news, {}
        return list(news.values())

    # --- what comes out --------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether every marked pair has been looked at."""
        return not self._dirty

    def wake_at(self) -> float | None:
        """When the next timer of a pair runs out, monotonic seconds."""
        return self._timers[0][0] if self._timers else None

    def due(self, now: float, limit: int) -> list[ConnName]:
        """Take up to limit marked pairs, those whose time has come among them."""
        while self._timers and self._timers[0][0] <= now:
            self.touch(heapq.heappop(self._timers)[1])
        taken = list(self._dirty)[:limit]
        for name in taken:
            del self._dirty[name]
        return taken

    def retries(self, name: ConnName) -> bool:
        """Whether a pair was initiated and is not up: look at its SAs before doing so again.

        The start of an attempt raises no event, and a second one beside it would only queue up.
        """
        record = self.records.get(name)
        return record is not None and record.attempts > 0

    def decide(self, name: ConnName, make_config: MakeConfig, context: Context) -> Decision | None:
        """Decide about one pair and remember the outcome.

        Returns:
            None when there is nothing to decide: neither wanted, known, nor seen.
        """
        intent = self._intents.get(name)
        record = self.records.get(name)
        seen = self.seen.get(name, NOTHING_SEEN)
        if record is None:
            if intent is None:
                return self._stray(name, seen, context)
            record = PairRecord(name=name, pair=intent.pair, since=context.now)
            record = replace(record, mode=intent.mode, profile=intent.profile)
            record = replace(record, closed=name in self._latched or self.was_closed(record))
        self._strays.pop(name, None)
        config = make_config(intent) if intent is not None else None
        decision = decide(record, intent, config, seen, context)
        self._remember(name, decision.record, context.now)
        if decision.wake_at is not None:
            heapq.heappush(self._timers, (decision.wake_at, name))
        return decision

    def _stray(self, name: ConnName, seen: ConnSeen, context: Context) -> Decision | None:
        """A connection of ours that nobody wants, left by an earlier life of this program."""
        if not (seen.present or seen.sas or seen.traps):
            self._strays.pop(name, None)
            return None
        first = self._strays.setdefault(name, context.now)
        ends = first if context.phase is Phase.OFF else first + LINGER_S
        if context.now >= ends:
            return Decision(record=None, steps=remove_steps(name, seen))
        heapq.heappush(self._timers, (ends, name))
        return Decision(record=None)

    def _remember(self, name: ConnName, record: PairRecord | None, now: float) -> None:
        old = self.records.pop(name, None)
        if old is not None:
            self.counts[old.state] -= 1
            self.profiles[old.profile] -= old.mode is not Mode.OFF
            self._ports.subtract((old.pair.out_port, old.pair.in_port))
        flows: frozenset[ClearFlow] = frozenset()
        if record is not None:
            flows = clear_flows(record, now)
            self.records[name] = record
            self.counts[record.state] += 1
            self.profiles[record.profile] += record.mode is not Mode.OFF
            self._ports.update((record.pair.out_port, record.pair.in_port))
        before = self._clear.pop(name, frozenset())
        if flows:
            self._clear[name] = flows
        if record is not None and record.closed:
            self._latched.add(name)
        elif record is not None:
            self._latched.discard(name)
        if flows != before:
            self._may_clear -= before - flows
            self._may_clear |= flows
            self._kept_flows = None

    def settling(self, now: float) -> bool:
        """Whether a pair is still on its way back to clear text."""
        return any(now < record.send_from for record in self.records.values())

    def pair_counts(self) -> PairCounts:
        """How many pairs are in each state."""
        return PairCounts(**{state.value: self.counts[state] for state in PairState})

    def all_refusals(self) -> Iterable[InputError]:
        """Everything that was refused, each once, in order of the chassis' names."""
        found = chain.from_iterable(self.refusals[name] for name in sorted(self.refusals))
        return {error.diagnostics(): error for error in found}.values()

    def intent(self, name: ConnName) -> PairIntent | None:
        """What the southbound wants of a pair; None when the peer's rows are gone."""
        return self._intents.get(name)

    def guard(self, floor: GuardState | None) -> GuardState | None:
        """The guard as it shall be.

        Args:
            floor: Ports and addresses that the guard had before; while it stands it only grows,
                so that the loss of our own rows opens nothing.

        Returns:
            None in off once no SA is left, and in prepare as long as nothing was closed before. In
            relax it stands with every pair open, so that both ends can change back in turn.
        """
        if self.policy.phase is Phase.OFF and not self._holds_sas():
            return None
        if self.policy.phase is Phase.PREPARE and not any(
            record.closed for record in self.records.values()
        ):
            return None
        local: set[IpAddress] = {record.pair.local for record in self.records.values()}
        ports = {port for port, count in self._ports.items() if count > 0}
        this = self.world.get(self.this_chassis)
        if this is not None:
            local |= {intent.encap.ip for intent in this.encaps}
            ports |= {intent.encap.port for intent in this.encaps}
        elif floor is not None:
            local |= floor.local
            ports |= floor.ports
        if self._kept_flows is None:
            self._kept_flows = frozenset(self._may_clear)
        binding = self.policy.phase in (Phase.ESTABLISH, Phase.ENFORCE)
        return GuardState(
            ports=frozenset(ports),
            local=frozenset(local),
            may_clear=self._kept_flows,
            vnis=self.policy.vnis if binding else frozenset(),
        )

    def _holds_sas(self) -> bool:
        """Whether the daemon still protects a pair: its policies must not catch clear text."""
        return any(seen.sas or seen.traps for seen in self.seen.values())


def _treating(policy: ClusterPolicy) -> tuple[object, ...]:
    """What of a policy says how pairs are treated."""
    return (policy.generation, policy.default, policy.floor, policy.profile, policy.pairs)


def guard_remembers(guard: GuardState | None, record: PairRecord) -> bool:
    """Whether a guard found at start closed this pair: it does not let its traffic out."""
    pair = record.pair
    out, _ = ClearPair(
        local=pair.local, remote=pair.remote, out_port=pair.out_port, in_port=pair.in_port
    ).flows()
    return guard is not None and record.mode is not Mode.OFF and out not in guard.may_clear


def counts_by_name(counts: Mapping[PairState, int]) -> dict[str, int]:
    """States that have pairs, with their number, in the order of the enumeration."""
    return {state.value: counts[state] for state in PairState if counts.get(state)}
