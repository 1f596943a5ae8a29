# SPDX-License-Identifier: Apache-2.0
"""Shell: keeps the journal of evidence: what the other parts of a pass have seen, and when.

Nothing here decides anything, and no failure leaves this module: what cannot be noted is not known,
and the guard and the IKE daemon are looked after all the same.

What is written is what changes. Counters change all the time: what SAs have carried is written
when one ends, and otherwise every CHECKPOINT_S; what the guard has counted every ALIVE_S, which is
also how long the journal may be silent before nobody is known to have looked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from ovn_ipsec import __version__
from ovn_ipsec.clock import Clock
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.evidence import sums as sas
from ovn_ipsec.evidence.document import Request, document
from ovn_ipsec.evidence.events import Alive, Event, Proof, Start, Summed, line
from ovn_ipsec.evidence.ledger import GONE, Ledger
from ovn_ipsec.evidence.values import Certified, Sums
from ovn_ipsec.model.chassis import IpAddress
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import ClusterPolicy

from ..plan.agent import Agent
from ..plan.connection import ConnName
from ..plan.guard import GuardCounters
from ..plan.pair.facts import NOTHING_SEEN
from ..xfrm.values import XfrmState
from . import notes
from .journal import Journal

_log = structlog.get_logger()

Counters = Callable[[], Mapping[str, GuardCounters | None]]
AsksCertificates = Callable[[str], Known[tuple[bytes, ...]] | Unknown]
ASKS = 8
"""Questions for the certificate of a peer in one pass."""
ALIVE_S = 60.0
"""Between two readings of the guard's counters, and the longest that the journal is silent."""
COSTLY = 2000.0
"""Times what the last reading took is the least between two: libnftables reads all sets for the
counters."""
CHECKPOINT_S = 900.0
"""Between two notes of what SAs have carried that go on."""
WRITE_S = 2.0
"""Between two writes."""
FAULT_S = 60.0
"""Until the next attempt after a failure."""
RETIRE_S = 60.0
"""How long a pair that was there before may take to come back before it is called gone."""
GRACE_S = 30.0
"""How long a new controller waits for the IKE daemon before it says what a pair is."""
SLACK_BYTES = 512 * 1024
"""What may be added to a journal before it is written anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a chassis is at the end of a pass."""

    agent: Agent
    decided: Iterable[ConnName]
    """Pairs about which something was decided in this pass."""
    settled: bool
    """Whether every pair was decided once, and the IKE daemon can be read."""
    synced: bool
    """Whether every pair was decided once."""
    applied: ClusterPolicy
    """The last policy that was acknowledged."""
    certificate: bytes | None
    """Of this chassis, DER."""
    ask: AsksCertificates
    """Gives the certificates in the name of an identity that the IKE daemon has."""


class EvidenceKeeper:
    """The ledger of this chassis, and its journal."""

    def __init__(self, journal: Journal, clock: Clock, boot: str, counters: Counters) -> None:
        """Keep the arguments.

        Args:
            journal: Where lines are kept.
            clock: Both clocks are used.
            boot: Identifies this boot of the machine.
            counters: Reads the counters of the guard's layers.
        """
        self._journal, self._clock, self._boot, self._counters = journal, clock, boot, counters
        self.problem = ""
        self._ledger = Ledger()
        self._open = False
        self._sums: dict[str, Sums] = {}
        self._seen: dict[ConnName, notes.SasSeen] = {}
        self._unwritten: dict[str, None] = {}
        """Pairs whose sums differ from those in the journal for good, and not by counters alone."""
        self._waiting: dict[ConnName, None] = {}
        """Pairs that were decided and are not noted yet."""
        self._owner: dict[int, tuple[ConnName, IpAddress]] = {}
        """By reqid: the pair, and the address of this chassis."""
        self._held: dict[ConnName, int] = {}
        """Since when the SAs of a pair have been there, of those that were there at the start."""
        self._shown: tuple[str, bytes | None] | None = None
        """Name and certificate of this chassis, as of the last pass."""
        self._figures: dict[ConnName, tuple[tuple[int, int], ...]] = {}
        """By pair, SPI and packets of its SAs as of the last look: the same again is no news."""
        self._agent: Agent | None = None
        self._certificates: dict[str, Certified | None] = {}
        """Of peers, by pair, as of when they authenticated."""
        self._asks: dict[ConnName, str] = {}
        """Pairs whose peer has authenticated anew, with its identity."""
        self._settled = self._retired = self._looked = False
        self._missed = False
        """Passes went unseen after a failure: every pair has to be noted again."""
        self._lines: list[str] = []
        self._torn = False
        """The journal lacks lines: it has to be written anew."""
        self._size = self._compact = 0
        self._begun = self._write_at = self._rest_until = float("-inf")
        self._count_at = self._checkpoint_at = float("-inf")

    # --- from the shell --------------------------------------------------------------------------

    def open(self) -> None:
        """Read the journal, and begin to observe."""
        try:
            text = self._journal.read()
        except EdgeError as error:
            self._fails(error.diagnostics())
            return
        self._ledger = Ledger.of(text)
        self._size = self._compact = len(text)
        self._torn = bool(text) and not text.endswith("\n")
        for name, pair in self._ledger.pairs.items():
            self._sums[name] = pair.sums
            self._certificates[name] = pair.methods[-1].certificate if pair.methods else None
        self._open, self._begun = True, self._clock.monotonic()
        self._checkpoint_at = self._begun + CHECKPOINT_S
        self._note(Start(at=self._wall(), boot=self._boot, version=__version__))

    def keep(
        self,
        scene: Scene | None,
        ended: Iterable[XfrmState],
        states: Iterable[XfrmState] | None,
    ) -> None:
        """Note what a pass has seen.

        Args:
            scene: None: this host has no name yet.
            ended: SAs that are gone.
            states: The whole SAD, if it was read; None: it was not.
        """
        now = self._clock.monotonic()
        if not self._open or now < self._rest_until:
            return
        try:
            if scene is not None:
                self._note_scene(scene, ended, states, now)
            self._note_time(now)
            self._write(now)
        except Exception as error:  # noqa: BLE001 - evidence keeps no other part from its work
            self._rest_until = now + FAULT_S
            self._missed = True
            if not self.problem:
                _log.exception("evidence_failed")
            self.problem = f"evidence is not kept: internal error {type(error).__name__}"

    def wake_at(self) -> float | None:
        """When there is something to write, monotonic seconds; None: nothing by now."""
        if self._open and self._asks:
            return max(self._clock.monotonic(), self._rest_until)
        waits = self._lines or self._torn or self._unwritten
        return max(self._write_at, self._rest_until) if self._open and waits else None

    def close(self) -> None:
        """Note the end."""
        if not self._open:
            return
        try:
            self._note_sums(self._sums, self._wall())
            self._read_counters(self._clock.monotonic())
            self._note(Alive(at=self._wall(), stopped=True))
            self._write(float("inf"))
        except Exception:  # noqa: BLE001 - as in keep()
            _log.exception("evidence_failed")
        self._open = False

    def document(self, states: Iterable[XfrmState] | None, since: int | None) -> dict[str, Any]:
        """Say everything that is known by now.

        Args:
            states: The whole SAD; None: it cannot be read.
            since: As in Request.

        Raises:
            EdgeError: Nothing is kept.
        """
        if not self._open:
            raise EdgeError(self.problem or "evidence is not kept")
        now = self._clock.monotonic()
        # Between two looks what has ended must have been heard, which a pass does.
        if states is not None and self._agent is not None and not self._looked:
            self._look(states)
            self._looked = True
        self._read_counters(now)
        self._note_sums(self._sums, self._wall())
        self._write(now)
        asked = Request(now=self._wall(), since=since, running=True, version=__version__)
        found = document(self._ledger, asked)
        return {**found, "problem": self.problem or None}

    # --- what is seen ----------------------------------------------------------------------------

    def _note_scene(
        self,
        scene: Scene,
        ended: Iterable[XfrmState],
        states: Iterable[XfrmState] | None,
        now: float,
    ) -> None:
        at, agent = self._wall(), scene.agent
        self._looked = False
        if agent is not self._agent:
            self._agent, self._seen, self._owner = agent, {}, {}
            self._asks, self._figures = {}, {}
            self._settled = False
        self._end(ended)
        if states is not None:
            self._look(states)
        if self._missed:
            self._waiting.update(dict.fromkeys(agent.records))
            self._missed = False
        self._waiting.update(dict.fromkeys(scene.decided))
        self._settled |= scene.settled or (scene.synced and now >= self._begun + GRACE_S)
        if not self._settled:
            return
        self._ask(scene.ask)
        waiting, self._waiting = self._waiting, {}
        for name in waiting:
            self._note_pair(name, at)
        if now >= self._begun + RETIRE_S:
            self._retire(agent, at)
        for event in notes.policies(self._ledger.host, agent.policy, scene.applied, at):
            self._note(event)
        shown = (str(agent.this_chassis), scene.certificate)
        if shown != self._shown:
            # It is parsed only then, and not in every pass.
            self._shown = shown
            mine = notes.own(self._ledger.host, *shown, at)
            if mine is not None:
                self._note(mine)

    def _note_pair(self, name: ConnName, at: int) -> None:
        agent = self._agent
        record = None if agent is None else agent.records.get(name)
        known = self._ledger.pairs.get(name)
        if agent is None or record is None:
            self._seen.pop(name, None)
            if known is not None and known.state != GONE:
                self._note(notes.gone(known, at))
            return
        event = notes.moved(known, record, self._held.pop(name, None), at)
        if event is not None:
            self._note(event)
        resumed = known is not None and known.held != self._ledger.pairs[name].held
        if known is None and name in self._sums:
            self._unwritten[name] = None
        seen = agent.seen.get(name, NOTHING_SEEN).sas
        before = self._seen.get(name, notes.SasSeen())
        identity = "" if resumed else notes.authenticated(before, seen)
        self._note_sas(name, notes.sas_seen(seen))
        if identity:
            self._asks[name] = identity
        if name in self._asks:
            return
        found = notes.proof(name, seen, self._certificates.get(name), at)
        if found is not None:
            self._note_new(found)

    def _note_new(self, found: Proof) -> None:
        """Note how a pair is protected; the ledger keeps only what differs from the last."""
        methods = self._ledger.pairs[found.pair].methods
        self._ledger.apply(found)
        if self._ledger.pairs[found.pair].methods != methods:
            self._lines.append(line(found))

    def _note_sas(self, name: ConnName, after: notes.SasSeen) -> None:
        before = self._seen.get(name)
        self._seen[name] = after
        if before is None or before == after:
            return
        sums = self._sums.get(name, Sums())
        counted = notes.rekeyed(sums, before, after)
        if counted != sums:
            self._sums[name] = counted
            self._unwritten[name] = None

    def _ask(self, ask: AsksCertificates) -> None:
        """Learn which certificates were shown; of several for one name, nobody knows which."""
        for name in list(self._asks)[:ASKS]:
            found = ask(self._asks.pop(name))
            ders = found.value if isinstance(found, Known) else ()
            self._certificates[name] = notes.certified(ders[0]) if len(ders) == 1 else None
            self._waiting[name] = None

    def _retire(self, agent: Agent, at: int) -> None:
        """Note pairs that were there before the last gap, and are not there now."""
        if self._retired:
            return
        self._retired = True
        for name, known in list(self._ledger.pairs.items()):
            if known.state != GONE and ConnName(name) not in agent.records:
                self._note(notes.gone(known, at))

    # --- what was carried ------------------------------------------------------------------------

    def _look(self, states: Iterable[XfrmState]) -> None:
        """Take in the SAs of the kernel."""
        self._own_all()
        found: dict[ConnName, list[XfrmState]] = {}
        for state in states:
            owner = self._owner.get(state.reqid)
            if owner is not None and state.proto == notes.ESP:
                found.setdefault(owner[0], []).append(state)
        before, self._figures = self._figures, {}
        for owned, mine in found.items():
            self._figures[owned] = tuple((one.spi, one.packets) for one in mine if one.packets)
        idle = {one for one, figures in self._figures.items() if before.get(one) == figures}
        for name in {*found, *(name for name, one in self._sums.items() if one.live)}:
            mine = found.get(ConnName(name), [])
            known = self._ledger.pairs.get(name)
            sums = self._sums.get(name, Sums())
            settled = not any(one.missed for one in sums.live)
            if settled and name in idle and known is not None and known.unseen_since is None:
                continue
            if mine and known is not None and known.unseen_since is not None:
                self._hold(ConnName(name), mine)
            local = self._local(mine)
            live = [notes.live_sa(one, local) for one in mine if one.packets] if local else []
            self._sums[name] = sas.looked(sums, live)

    def _local(self, states: list[XfrmState]) -> IpAddress | None:
        return self._owner[states[0].reqid][1] if states else None

    def _hold(self, name: ConnName, states: list[XfrmState]) -> None:
        """Remember since when SAs have been there that an earlier controller may have seen."""
        agent = self._agent
        reqids = None if agent is None else agent.reqids.get(name)
        if reqids is not None:
            since = notes.held_since(reqids, self._owner[reqids[0]][1], states)
            if since is not None:
                self._held[name] = since

    def _end(self, ended: Iterable[XfrmState]) -> None:
        for state in ended:
            if state.proto != notes.ESP or not state.packets:
                continue
            if state.reqid not in self._owner:
                self._own_all()
            owner = self._owner.get(state.reqid)
            if owner is None:
                continue
            name, local = owner
            before = self._sums.get(name, Sums())
            self._sums[name] = sas.ended(before, notes.live_sa(state, local))
            self._unwritten[name] = None

    def _own_all(self) -> None:
        """Learn which reqid is whose; what is gone is known for a while, as its SAs end later."""
        agent = self._agent
        if agent is None:
            return
        if len(self._owner) > 4 * len(agent.reqids) + 1000:
            self._owner = {}
        for name, reqids in agent.reqids.items():
            record, intent = agent.records.get(name), agent.intent(name)
            known = intent if record is None else record
            if known is not None:
                self._owner[reqids[0]] = self._owner[reqids[1]] = (name, known.pair.local)

    def _note_sums(self, names: Iterable[str], at: int) -> None:
        for name in list(names):
            known, sums = self._ledger.pairs.get(name), self._sums[name]
            if known is not None and known.sums != sums:
                self._note(Summed(at=at, pair=name, sums=sums))

    # --- time and disk ---------------------------------------------------------------------------

    def _note_time(self, now: float) -> None:
        if now >= self._count_at:
            self._read_counters(now)
        if now >= self._checkpoint_at:
            self._checkpoint_at = now + CHECKPOINT_S
            self._unwritten.update(dict.fromkeys(self._sums))

    def _read_counters(self, now: float) -> None:
        begin = self._clock.monotonic()
        found = self._counters()
        took = self._clock.monotonic() - begin
        self._count_at = now + max(ALIVE_S, took * COSTLY)
        self._note(notes.counted(found, self._boot, self._wall()))

    def _wall(self) -> int:
        return int(self._clock.utc_now().timestamp())

    def _note(self, event: Event) -> None:
        self._ledger.apply(event)
        self._lines.append(line(event))

    def _write(self, now: float) -> None:
        if now < self._write_at:
            return
        self._note_sums(self._unwritten, self._wall())
        self._unwritten = {}
        if not self._lines and not self._torn:
            return
        self._write_at = self._clock.monotonic() + WRITE_S
        text, self._lines = "".join(self._lines), []
        self._size += len(text)
        try:
            if self._torn or self._size > 2 * self._compact + SLACK_BYTES:
                self._rewrite()
            else:
                self._journal.append(text)
        except EdgeError as error:
            self._torn = True
            self._write_at = self._clock.monotonic() + FAULT_S
            self._fails(error.diagnostics())
            return
        self.problem = ""

    def _rewrite(self) -> None:
        agent = self._agent
        kept = self._ledger.pairs.keys() | (set() if agent is None else agent.records.keys())
        self._sums = {name: one for name, one in self._sums.items() if name in kept}
        for name in self._certificates.keys() - kept:
            del self._certificates[name]
        text = "".join(map(line, self._ledger.events()))
        self._journal.replace(text)
        self._size = self._compact = len(text)
        self._torn = False

    def _fails(self, why: str) -> None:
        if not self.problem:
            _log.error("evidence_unwritten", reason=why)
        self.problem = f"evidence is not kept: {why}"
