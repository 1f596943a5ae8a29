# SPDX-License-Identifier: Apache-2.0
"""Pure: events folded into what is known, and what is known back into as few events as possible.

The ledger assumes nothing: while no controller ran, nobody saw anything. What a pair was before
such a gap continues behind it only where the SAs show it, which the kernel keeps without anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar, assert_never

from .events import (
    Alive,
    Counted,
    Event,
    Own,
    Policy,
    Proof,
    Start,
    State,
    Summed,
    parse,
)
from .sums import thinned
from .values import (
    Epoch,
    Gap,
    HostEvidence,
    Method,
    OwnCertificate,
    PairEvidence,
    Point,
    PolicySeen,
    Reading,
    Span,
    Tally,
)

_T = TypeVar("_T")
ENCRYPTED, GONE = "encrypted", "gone"
SPANS_MAX, METHODS_MAX, GAPS_MAX, POLICIES_MAX, EPOCHS_MAX, OWN_MAX = 20, 6, 100, 200, 40, 6
GONE_MAX = 1000
"""Pairs that are gone and are still kept."""
PAIR_GROWTH, GUARD_GROWTH = 4.0, 0.125
"""How coarse points in the past are, see ``thinned``."""


class Ledger:
    """What is known."""

    def __init__(self) -> None:
        self.host = HostEvidence()
        self.pairs: dict[str, PairEvidence] = {}
        self._gone: dict[str, None] = {}
        """Pairs that are no longer there, in the order in which they went."""

    @classmethod
    def of(cls, text: str) -> Ledger:
        """Read a journal; lines that cannot be read are counted, and the others taken."""
        ledger = cls()
        for one in text.split("\n"):
            if not one:
                continue
            try:
                event = parse(one)
            except (ValueError, RecursionError):
                unreadable = ledger.host.unreadable + 1
                ledger.host = replace(ledger.host, unreadable=unreadable)
                continue
            ledger.apply(event)
        return ledger

    def events(self) -> Iterator[Event]:
        """As few events as possible from which the same ledger is made."""
        yield self.host
        yield from self.pairs.values()

    def apply_all(self, events: Iterable[Event]) -> None:
        """Take in events, in the order in which they happened."""
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take in one event; one about a pair that was never named says nothing."""
        match event:
            case HostEvidence():
                self.host = replace(event, unreadable=event.unreadable + self.host.unreadable)
            case PairEvidence():
                self.pairs[event.pair] = event
                if event.state == GONE:
                    self._gone[event.pair] = None
            case Start():
                self._begin(event)
            case Alive():
                self._live(event.at, stopped=event.stopped)
            case _:
                self._live(event.at)
                self._learn(event)

    def _learn(self, event: State | Proof | Summed | Counted | Policy | Own) -> None:
        match event:
            case State():
                self._move(event)
            case Proof():
                self._prove(event)
            case Summed():
                self._sum(event)
            case Counted():
                for reading in event.layers:
                    self._count(event.at, reading)
            case Policy():
                self._obey(event)
            case Own():
                self._certify(event)
            case _:
                assert_never(event)

    # --- the chassis -----------------------------------------------------------------------------

    def _live(self, at: int, *, stopped: bool = False) -> None:
        host = self.host
        latest = at if host.alive_at is None else max(at, host.alive_at)
        begun = at if host.begun_at is None else host.begun_at
        self.host = replace(host, begun_at=begun, alive_at=latest, stopped=stopped)

    def _begin(self, event: Start) -> None:
        host = self.host
        if host.alive_at is not None:
            rebooted = bool(event.boot and host.boot and event.boot != host.boot)
            # A clock that was set back makes no gap of negative length.
            end = max(event.at, host.alive_at)
            gap = Gap(begin=host.alive_at, end=end, clean=host.stopped, rebooted=rebooted)
            gaps, dropped = _last((*host.gaps, gap), GAPS_MAX)
            self.host = replace(host, gaps=gaps, gaps_dropped=host.gaps_dropped + dropped)
        self.host = replace(self.host, boot=event.boot, version=event.version)
        self._live(event.at)
        for name, pair in self.pairs.items():
            if pair.state != GONE and pair.unseen_since is None:
                self.pairs[name] = replace(pair, unseen_since=host.alive_at)

    def _count(self, at: int, reading: Reading) -> None:
        epochs = self.host.epochs
        number = max((n for n, e in enumerate(epochs) if e.layer == reading.layer), default=-1)
        tally = Tally(at=at, counts=reading.counts)
        if number >= 0 and not _began_anew(epochs[number], reading):
            known = epochs[number]
            tallies = thinned((*known.tallies, tally), GUARD_GROWTH)
            new = replace(known, tallies=tallies)
            self.host = replace(self.host, epochs=(*epochs[:number], new, *epochs[number + 1 :]))
            return
        after = epochs[number].tallies[-1].at if number >= 0 else None
        new = Epoch(layer=reading.layer, epoch=reading.epoch, after=after, tallies=(tally,))
        epochs, dropped = _last((*epochs, new), EPOCHS_MAX)
        dropped += self.host.epochs_dropped
        self.host = replace(self.host, epochs=epochs, epochs_dropped=dropped)

    def _obey(self, event: Policy) -> None:
        found = self.host.policies
        last = found[-1] if found else None
        if last is None or (last.generation, last.phase) != (event.generation, event.phase):
            last = PolicySeen(generation=event.generation, phase=event.phase, obeyed_at=event.at)
            found = (*found, last)
        if event.applied and last.applied_at is None:
            found = (*found[:-1], replace(last, applied_at=event.at))
        policies, dropped = _last(found, POLICIES_MAX)
        dropped += self.host.policies_dropped
        self.host = replace(self.host, policies=policies, policies_dropped=dropped)

    def _certify(self, event: Own) -> None:
        own = (*self.host.own, OwnCertificate(at=event.at, certificate=event.certificate))
        self.host = replace(self.host, chassis=event.chassis, own=_last(own, OWN_MAX)[0])

    # --- its pairs -------------------------------------------------------------------------------

    def _move(self, event: State) -> None:
        known = self.pairs.get(event.pair) or PairEvidence(
            pair=event.pair,
            peer=event.peer,
            type=event.type,
            local=event.local,
            remote=event.remote,
            first=event.at,
            state=event.state,
            since=event.at,
            mode=event.mode,
        )
        pair = self._resume(known, event)
        spans = pair.spans
        is_open = bool(spans) and spans[-1].end is None
        if event.state == ENCRYPTED and not is_open:
            spans = (*spans, Span(begin=event.at))
        elif event.state != ENCRYPTED and is_open:
            spans = (*spans[:-1], replace(spans[-1], end=event.at))
        spans, dropped = _last(spans, SPANS_MAX)
        closed_since = pair.closed_since if pair.closed_since is not None else event.at
        self.pairs[event.pair] = replace(
            pair,
            state=event.state,
            since=pair.since if pair.state == event.state else event.at,
            mode=event.mode,
            closed=event.closed,
            closed_since=closed_since if event.closed else None,
            spans=spans,
            spans_dropped=pair.spans_dropped + dropped,
            unseen_since=None,
        )
        self._gone.pop(event.pair, None)
        if event.state == GONE:
            self._gone[event.pair] = None
            if len(self._gone) > GONE_MAX:
                first = next(iter(self._gone))
                del self._gone[first], self.pairs[first]
                self.host = replace(self.host, pairs_dropped=self.host.pairs_dropped + 1)

    def _resume(self, pair: PairEvidence, event: State) -> PairEvidence:
        """What a pair was before nobody looked, and whether that goes on."""
        unseen = pair.unseen_since
        if unseen is None or pair.state != ENCRYPTED:
            return pair
        since, gaps = event.held_since, self.host.gaps
        # No SA outlives a boot, whatever the clock says of when it was made.
        if any(gap.rebooted for gap in gaps if gap.begin >= unseen):
            since = None
        if event.state == ENCRYPTED and since is not None and since <= unseen:
            held = {*pair.held, *(gap.begin for gap in gaps if gap.begin >= unseen)}
            kept = sorted(held & {gap.begin for gap in gaps})
            return replace(pair, held=tuple(kept))
        last = replace(pair.spans[-1], end=unseen, lost=True)
        return replace(pair, spans=(*pair.spans[:-1], last), since=event.at)

    def _prove(self, event: Proof) -> None:
        pair = self.pairs.get(event.pair)
        if pair is None:
            return
        method = Method(
            at=event.at,
            auth=event.auth,
            ike=event.ike,
            esp=event.esp,
            esn=event.esn,
            identity=event.identity,
            certificate=event.certificate,
        )
        methods = pair.methods
        if methods and replace(methods[-1], at=event.at) == method:
            return
        self.pairs[event.pair] = replace(pair, methods=_last((*methods, method), METHODS_MAX)[0])

    def _sum(self, event: Summed) -> None:
        pair = self.pairs.get(event.pair)
        if pair is None:
            return
        point = Point(at=event.at, figures=event.sums.figures)
        points = thinned((*pair.points, point), PAIR_GROWTH)
        self.pairs[event.pair] = replace(pair, sums=event.sums, points=points)


def _began_anew(known: Epoch, reading: Reading) -> bool:
    """Whether counters are others than before: they say so, or one of them went backwards."""
    if known.epoch != reading.epoch:
        return True
    before, after = known.tallies[-1].counts, reading.counts
    values = (
        (before.out_denied, after.out_denied),
        (before.out_clear, after.out_clear),
        (before.in_denied, after.in_denied),
        (before.in_clear, after.in_clear),
    )
    return any(old is not None and new is not None and new < old for old, new in values)


def _last(found: tuple[_T, ...], limit: int) -> tuple[tuple[_T, ...], int]:
    """The last of something, and how many of it were dropped."""
    dropped = max(0, len(found) - limit)
    return found[dropped:], dropped
