# SPDX-License-Identifier: Apache-2.0
"""Pure: everything that this chassis knows, by pair, and which pairs have to be decided again.

There is no I/O and no clock here. The shell puts in what it has seen (rows, SAs, kernel entries,
reqids, credentials), asks for the pairs that are due, and gets one Decision for each. Work grows
with what changed: a new row marks the pairs of its chassis, an event of the IKE daemon marks one
pair, and only a new policy or credential marks all.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from itertools import chain

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.amend import amended
from ovn_ipsec.model.chassis import ChassisName, IpAddress, Pair
from ovn_ipsec.model.policy import NO_POLICY, ClusterPolicy, Mode, Phase, Profile
from ovn_ipsec.model.status import PairCounts
from ovn_ipsec.schema.encap import ERRORS_MAX, ParsedChassis

from .audit import OwnReqids
from .cluster.weakening import Statements, refusal
from .cluster.world import Offers, PairIntent, World
from .configs import Configs, MakesConfigs, Reqids
from .connection import ABLE, ConnConfig, ConnName, IkeSa, conn_name, established
from .contested import ContestedPairs
from .due import DuePairs
from .guard import ALWAYS, ClearFlow, GuardState
from .latch import NOTHING_FORMER, Latches
from .pair.clear import ClearFlows
from .pair.facts import NOTHING_SEEN, ConnSeen, Context
from .pair.lifecycle import LINGER_S, clear_flows, decide, remove_steps
from .pair.ports import TunnelPorts
from .pair.record import Decision, PairRecord, still_missing
from .pair.upkeep import looks_first
from .tally import PairTally


class Agent:
    """The state of one chassis; every method is a function of it and its arguments."""

    def __init__(self, this_chassis: ChassisName, configs: MakesConfigs | None = None) -> None:
        """Start with no knowledge, and with the policy that states nothing.

        Args:
            this_chassis: Our name.
            configs: Makes the connections; None: Configs, without any credential.
        """
        self.this_chassis = this_chassis
        self.configs: MakesConfigs = Configs() if configs is None else configs
        self.world = World()
        self.policy: ClusterPolicy = NO_POLICY
        self.records: dict[ConnName, PairRecord] = {}
        self.seen: dict[ConnName, ConnSeen] = {}
        self.refusals: dict[str, tuple[InputError, ...]] = {}
        self.tally = PairTally()
        self.able: frozenset[Profile] | None = None
        """Cipher suites that the IKE daemon can do, as last read; None: not read yet."""
        self.former = NOTHING_FORMER
        self.undecided: dict[ConnName, str] = {}
        """Pairs whose last decision raised an exception, each with the cause: a bug of ours."""
        self.reqids: dict[ConnName, Reqids] = {}
        self.abilities = ABLE
        """What the IKE daemon can do."""
        self._unnumbered: dict[ConnName, None] = {}
        self._contested = ContestedPairs()
        self._intents: dict[ConnName, PairIntent] = {}
        self._statements = Statements()
        self._new_refusals: dict[str, InputError] = {}
        self._by_peer: dict[str, frozenset[ConnName]] = {}
        self._due = DuePairs()
        self._strays: dict[ConnName, float] = {}
        self._clear = ClearFlows()
        self._latches = Latches()
        self._ports = TunnelPorts()

    # --- what comes in ---------------------------------------------------------------------------

    def put(
        self, policy: ClusterPolicy | None, rows: Iterable[tuple[str, ParsedChassis | None]] = ()
    ) -> bool:
        """Process what one observation of the southbound found, as one change.

        A weaker label counts only together with the generation from the same transaction.

        Args:
            policy: None: it states none, and the last one still applies. A new one marks all pairs.
            rows: Chassis rows that changed; None for one that is gone.

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
        self._refresh_all(peers)
        if before.generation < self.policy.generation:
            self._statements.forget(lambda name: name in self._intents or name in self.records)
        if is_new:
            if self.policy.phase in (Phase.OFF, Phase.RELAX):
                self._latches = Latches()
            self.touch_all()
        return is_new

    def put_policy(self, policy: ClusterPolicy) -> bool:
        """Set the policy. Returns whether it was new."""
        return self.put(policy)

    def put_chassis(self, name: str, parsed: ParsedChassis | None) -> None:
        """Set a chassis row; None if it is gone."""
        self.put(None, [(name, parsed)])

    def put_sas(self, name: ConnName, sas: tuple[IkeSa, ...]) -> None:
        """Set the SAs of one connection."""
        self.put_seen(name, replace(self.seen.get(name, NOTHING_SEEN), sas=sas))

    def forget_config(self, name: ConnName) -> None:
        """Note that nobody knows what the IKE daemon has of a connection: it is loaded again."""
        self.put_seen(name, replace(self.seen.get(name, NOTHING_SEEN), config=""))

    def put_seen(self, name: ConnName, seen: ConnSeen) -> None:
        """Set everything that was seen of one connection; a difference marks its pair.

        Counters that merely advance are no difference.
        """
        before = self.seen.get(name, NOTHING_SEEN)
        if seen.missing:
            seen = replace(seen, missing=still_missing(before, seen))
        is_new = seen != before
        if seen == NOTHING_SEEN:
            self.seen.pop(name, None)
        else:
            self.seen[name] = seen
        if is_new:
            self._refresh_all(self._prove(name, seen))
            self.touch(name)

    def _prove(self, name: ConnName, seen: ConnSeen) -> frozenset[str]:
        """Assign an address to the peer that has authenticated from there.

        Returns:
            Chassis whose pairs may have changed because of that.
        """
        if not (seen.orphaned or any(established(sa) for sa in seen.sas)):
            return frozenset()
        record = self.records.get(name)
        if record is None:
            claim = self._contested.claim(name)
        else:
            claim = (record.pair.type, record.pair.remote), str(record.pair.peer)
        if claim is None or self.world.holder(claim[0]) is not None:
            return frozenset()
        return self.world.hold(*claim)

    def own_reqids(self, given: Container[int]) -> Container[int]:
        """Every reqid that a connection of ours may have in the kernel.

        Args:
            given: Those that were ever given out.
        """
        most = self.abilities.reqid_max
        return OwnReqids(given, 0 if most == ABLE.reqid_max else most)

    def put_reqids(self, name: ConnName, reqids: Reqids) -> None:
        """Set the reqids of a connection."""
        self.reqids[name] = reqids
        self._unnumbered.pop(name, None)

    def unnumbered(self) -> list[ConnName]:
        """Connections without reqids: they are listed until these are set."""
        return list(self._unnumbered)

    def release(self, name: ConnName) -> None:
        """Drop the reqids of a connection that no longer exists."""
        self.reqids.pop(name, None)

    def put_failure(self, name: ConnName, cause: str) -> None:
        """Note that a pair could not be decided; what is in force for it stays."""
        self.undecided[name] = cause

    def put_error(self, name: ConnName, error: str) -> bool:
        """Remember why a pair is not up. Returns whether that is news."""
        record = self.records.get(name)
        if record is None or record.error == error:
            return False
        self.records[name] = replace(record, error=error)
        return True

    def touch(self, name: ConnName) -> None:
        """Mark a pair to be decided."""
        self._due.mark([name])

    def touch_at(self, name: ConnName, when: float) -> None:
        """Mark a pair to be decided at a later time, monotonic seconds."""
        self._due.mark_at(name, when)

    def touch_all(self) -> None:
        """Mark every pair to be decided."""
        self._due.mark(chain(self.records, self._intents, self.seen))

    def touch_peer(self, peer: str) -> None:
        """Mark the pairs with one chassis to be decided."""
        self._due.mark(self._by_peer.get(peer, ()))

    def _refresh_all(self, peers: Iterable[str]) -> None:
        for peer in sorted(peers):
            self._refresh(peer)

    def _refresh(self, peer: str) -> None:
        offers = self.world.pairs_with(self.this_chassis, peer, self.policy)
        touched = self._contest(peer, offers)
        if touched:
            offers = self.world.pairs_with(self.this_chassis, peer, self.policy)
            self._contest(peer, offers)
        errors = offers.errors
        before = self._by_peer.get(peer, frozenset())
        intents: dict[ConnName, PairIntent] = {}
        for offered in offers.intents:
            ruling = self._statements.rule(offered, self.policy)
            intents[conn_name(offered.pair)] = ruling.intent
            if ruling.refused and len(errors) < ERRORS_MAX:
                errors = (*errors, refusal(self.this_chassis, ruling, offered))
        for name in before - intents.keys():
            self._intents.pop(name, None)
            self.touch(name)
        for name, intent in intents.items():
            if name not in self.reqids:
                self._unnumbered[name] = None
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
        self._new_refusals.update((text, error) for text, error in said if text not in known)
        self._refresh_all(touched - {peer})

    def _contest(self, peer: str, offers: Offers) -> frozenset[str]:
        """Remember which connections a peer would have if a contested address were its own.

        Returns:
            Chassis whose pairs may have changed, because one of them had proved to be there.
        """
        touched = frozenset[str]()
        for name in self._contested.put(peer, offers.contested):
            touched |= self._prove(name, self.seen.get(name, NOTHING_SEEN))
        return touched

    def take_refusals(self) -> list[InputError]:
        """What was refused since the last call, each once."""
        found, self._new_refusals = self._new_refusals, {}
        return list(found.values())

    # --- what comes out --------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether every marked pair has been decided."""
        return self._due.idle

    def wake_at(self) -> float | None:
        """When the next timer of a pair expires, monotonic seconds."""
        return self._due.wake_at()

    def due(self, now: float, limit: int) -> list[ConnName]:
        """Take up to ``limit`` marked pairs, including those whose time has come."""
        return self._due.take(now, limit)

    def retries(self, name: ConnName, context: Context) -> bool:
        """Whether the SAs of a pair have to be read before a decision about it."""
        record = self.records.get(name)
        return record is not None and looks_first(record, context)

    def decide(self, name: ConnName, context: Context) -> Decision | None:
        """Decide about one pair and remember the outcome.

        Returns:
            None if there is nothing to decide: the pair is neither wanted, known, nor seen.
        """
        intent = self._intents.get(name)
        record = self.records.get(name)
        seen = self.seen.get(name, NOTHING_SEEN)
        if record is None:
            if intent is None:
                self.undecided.pop(name, None)
                return self._stray(name, seen, context)
            record = PairRecord(
                name=name,
                pair=intent.pair,
                mode=intent.mode,
                profile=intent.profile,
                since=context.now,
            )
            closed = self._latches.holds(record) or self.former.closed(record)
            record = amended(record, closed=closed)
        config = self._config(name, intent)
        decision = decide(record, intent, config, seen, context)
        if decision.record is not None and config is None:
            decision = amended(decision, record=self._lacking(decision.record, context))
        self._strays.pop(name, None)
        self.undecided.pop(name, None)
        self._remember(name, record, decision.record, context.now)
        if decision.record is None or decision.record.quarantined:
            self.configs.drop(name)
        if decision.wake_at is not None:
            self._due.mark_at(name, decision.wake_at)
        return decision

    def _config(self, name: ConnName, intent: PairIntent | None) -> ConnConfig | None:
        reqids = self.reqids.get(name)
        if intent is None or reqids is None:
            return None
        return self.configs.make(self.this_chassis, intent, self.policy, reqids)

    def _lacking(self, record: PairRecord, context: Context) -> PairRecord:
        """Say why a wanted pair has no connection."""
        wanted = record.gone_at is None and record.mode is not Mode.OFF and not record.quarantined
        if not wanted or context.phase is Phase.OFF or record.profile not in context.profiles:
            return record
        return amended(record, error=self.configs.lack(self.policy, record.pair.peer))

    def _stray(self, name: ConnName, seen: ConnSeen, context: Context) -> Decision | None:
        """Decide about an unwanted connection of ours, left by an earlier run of this program."""
        if not (seen.present or seen.sas or seen.traps):
            self._strays.pop(name, None)
            # An intent that disappeared before it was decided has been given reqids.
            return Decision(record=None) if name in self.reqids else None
        first = self._strays.setdefault(name, context.now)
        ends = first if context.phase is Phase.OFF else first + LINGER_S
        if context.now >= ends:
            return Decision(record=None, steps=remove_steps(name, seen))
        self._due.mark_at(name, ends)
        return None

    def _remember(
        self, name: ConnName, before: PairRecord, record: PairRecord | None, now: float
    ) -> None:
        old = self.records.pop(name, None)
        if old is not None:
            self.tally.drop(old)
        clear = frozenset[ClearFlow]()
        self._ports.put(name, _pair_of(old), _pair_of(record))
        if record is not None:
            self.records[name] = record
            intent = self._intents.get(name)
            self.tally.add(record, across=None if intent is None else intent.across)
            clear = self._ports.with_left(name, clear_flows(record, now))
        else:
            self.tally.forget(before)
            self._statements.merge(name, str(before.pair.peer))
            self._let_go(before)
        self._latches.put(name, before, record)
        self._clear.put(name, record, clear)

    def _let_go(self, record: PairRecord) -> None:
        """Give up an address whose last pair is forgotten."""
        address, peer = (record.pair.type, record.pair.remote), str(record.pair.peer)
        if self.world.holder(address) != peer:
            return
        others = (one.pair for one in self.records.values() if one.pair.peer == peer)
        if not any((pair.type, pair.remote) == address for pair in others):
            self._refresh_all(self.world.hold(address, None))

    def settling(self, now: float) -> bool:
        """Whether a pair is still switching: to clear text, or to closed under enforce."""
        return any(
            now < record.send_from or (record.closes_at is not None and now < record.closes_at)
            for record in self.records.values()
        )

    def pair_counts(self, *, across: bool = False) -> PairCounts:
        """The number of pairs in each state; `across`: only with other availability zones."""
        return self.tally.counts(across=across)

    def all_refusals(self) -> Iterable[InputError]:
        """Everything that was refused, each once, ordered by chassis name."""
        found = chain.from_iterable(self.refusals[name] for name in sorted(self.refusals))
        return {error.diagnostics(): error for error in found}.values()

    @property
    def has_intents(self) -> bool:
        """Whether the southbound wants anything of any pair."""
        return bool(self._intents)

    def undecided_intents(self) -> Iterator[tuple[ConnName, PairIntent]]:
        """Pairs that have never been decided."""
        return ((name, one) for name, one in self._intents.items() if name not in self.records)

    def intent(self, name: ConnName) -> PairIntent | None:
        """What the southbound wants of a pair; None if the peer's rows are gone."""
        return self._intents.get(name)

    def guard(self, floor: GuardState | None) -> GuardState | None:
        """The wanted guard.

        Args:
            floor: Ports and addresses that the guard had before; while it exists it only grows,
                so that the loss of our own rows opens nothing.

        Returns:
            None in off, once no SA is left. In prepare it exists with every pair open: the peer may
            be a phase ahead, and without a guard the SAs that it makes would block clear text. In
            relax it exists so that both ends can switch back, one after the other.
        """
        if self.policy.phase is Phase.OFF and not self._holds_sas():
            return None
        local: set[IpAddress] = set(self._ports.local)
        ports = ALWAYS | set(self._ports.own)
        this = self.world.get(self.this_chassis)
        if this is not None:
            local |= {intent.encap.ip for intent in this.encaps}
            ports |= {intent.encap.port for intent in this.encaps}
        elif floor is not None:
            local |= floor.local
            ports |= floor.ports
        binding = self.policy.phase in (Phase.ESTABLISH, Phase.ENFORCE)
        return GuardState(
            ports=frozenset(ports),
            local=frozenset(local),
            may_clear=self._clear.may_clear,
            peer_ports=self._ports.beyond(frozenset(ports)),
            vnis=self.policy.vnis if binding else frozenset(),
        )

    def succeed(self, before: Agent) -> None:
        """Take over what was closed under the previous name of this chassis.

        Args:
            before: The agent of that name.
        """
        if self.policy.phase not in (Phase.OFF, Phase.RELAX):
            self._latches.inherit(before._latches)

    def settle(self) -> None:
        """Every pair is decided: of what was in force before, only absent peers still matter."""
        if self.policy.phase not in (Phase.OFF, Phase.RELAX):
            ways = {(record.pair.local, record.pair.remote) for record in self.records.values()}
            self._latches.remember(self.former.latched, ways)
        self.former = NOTHING_FORMER

    def latched(self) -> frozenset[ClearFlow]:
        """The outgoing flows of pairs that must never be clear again, for the boot guard.

        The same object while unchanged.
        """
        return self._latches.flows()

    def _holds_sas(self) -> bool:
        """Whether the daemon still protects a pair: its policies must not catch clear text."""
        return any(seen.sas or seen.traps for seen in self.seen.values())


def _pair_of(record: PairRecord | None) -> Pair | None:
    return None if record is None else record.pair


def _treating(policy: ClusterPolicy) -> tuple[object, ...]:
    """The part of a policy that determines how pairs are treated."""
    return (
        policy.generation,
        policy.default,
        policy.floor,
        policy.profile,
        policy.pairs,
        policy.rules,
    )
