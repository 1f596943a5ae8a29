# SPDX-License-Identifier: Apache-2.0
"""northd_ext.daemon: what wakes it, and what of that is worth a decision."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from northd_ext.daemon import Northd
from northd_ext.enrolment import LOOK_S
from northd_ext.observe.views import NbView, SbView
from northd_ext.policy.target import NO_SIGNING
from ovn_ipsec.errors import InputError
from ovn_ipsec.schema.nb_global import ParsedPolicy

REFUSAL = InputError(table="Chassis_Private", row="hv1", key="csr", text="x", reason="not yours")


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def utc_now(self) -> datetime:
        """The same, as a date."""
        return datetime(2026, 11, 27, tzinfo=UTC) + timedelta(seconds=self.now)


class Session:
    """A database that is there, in which nothing happens."""

    loaded = connected = has_lock = can_write = True
    problem = ""
    busy = False

    def receive(self) -> bool:
        """Nothing has arrived."""
        return False

    def failure(self) -> None:
        """No write has failed."""

    def hold_lock(self, wanted: bool) -> None:
        """It is held as the test says."""


class Ledger:
    """An authority whose ledger changes when the test says so."""

    def __init__(self) -> None:
        self.signing, self.news, self.looks, self.answers = NO_SIGNING, False, 0, 0
        self.refusals: tuple[InputError, ...] = ()
        self._look_at = float("-inf")

    def look(self, now: float) -> bool:
        """Whether there is news, at most every LOOK_S."""
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        self.looks += 1
        news, self.news = self.news, False
        return news

    def wake_at(self) -> float:
        """When the next look is due."""
        return self._look_at

    def answer(self, *_: object) -> dict[str, str]:
        """Refuse everybody."""
        self.answers += 1
        self.refusals = (REFUSAL,)
        return {}


class Watched(Northd):
    """Counts its decisions, and writes nothing."""

    decisions = 0

    def cost(self) -> None:
        """What a decision takes."""

    def _reconcile(self, nb: NbView, sb: SbView, now: float) -> None:
        self.decisions += 1
        self.cost()

    def _log_refusals(self, now: float) -> None:
        assert self._enrolment is not None
        self.said = [str(one) for one in self._enrolment.refusals]


@pytest.fixture
def ledger() -> Ledger:
    """An authority."""
    return Ledger()


@pytest.fixture
def northd(ledger: Ledger) -> Watched:
    """The active northd of an idle cluster that is switched off."""
    nb = NbView(asked=ParsedPolicy(policy=None, errors=()), report={})
    sb = SbView(policy=None, chassis={})
    service = SimpleNamespace(poll=lambda: None)
    sessions = (Session(), Session(), Session())
    made = Watched(service, *sessions, ledger, clock=Time())  # type: ignore[arg-type]
    made._members = SimpleNamespace(  # type: ignore[assignment]
        receive=lambda: False, want=lambda *_: None, add_to=lambda sb, _: sb, deadline=lambda: None
    )
    made._northbound = SimpleNamespace(observe=lambda: nb)  # type: ignore[assignment]
    made._southbound = SimpleNamespace(  # type: ignore[assignment]
        observe=lambda: sb, asked=list, remotes=list
    )
    return made


def test_a_look_at_the_books_that_finds_nothing_decides_nothing(
    northd: Watched, ledger: Ledger
) -> None:
    """It answers who still waits for a certificate, says whom it refused, and sleeps on."""
    northd._turn(100.0)
    assert (northd.decisions, ledger.looks) == (1, 1)
    assert northd._next() == 100.0 + LOOK_S
    northd._turn(100.0 + LOOK_S / 2)
    assert (northd.decisions, ledger.looks, ledger.answers) == (1, 1, 0)
    northd._turn(100.0 + LOOK_S)
    assert (northd.decisions, ledger.looks, ledger.answers) == (1, 2, 1)
    assert northd.said == [str(REFUSAL)]
    assert northd._next() == 100.0 + 2 * LOOK_S


def test_a_look_that_finds_news_decides(northd: Watched, ledger: Ledger) -> None:
    """A chassis that was revoked is in quarantine at once."""
    northd._turn(100.0)
    ledger.news = True
    northd._turn(100.0 + LOOK_S)
    assert (northd.decisions, ledger.looks) == (2, 2)


def test_standby_does_not_look(northd: Watched, ledger: Ledger) -> None:
    """Only the active one signs, and only it wakes up for that."""
    northd._sb.has_lock = False  # type: ignore[misc]
    northd._turn(100.0)
    northd._turn(200.0)
    assert (northd.decisions, ledger.looks) == (1, 0)
    assert northd._next() is None


def test_before_the_databases_are_there_nothing_is_due(northd: Watched) -> None:
    """It waits for them, and does not spin."""
    northd._sb.loaded = False  # type: ignore[misc]
    northd._turn(100.0)
    assert northd._next() is None


class Poller:
    """What a loop would wait for."""

    def __init__(self) -> None:
        self.timers: list[int] = []
        self.woken = 0
        self.armed: list[object] = []

    def timer_wait(self, ms: int) -> None:
        """A time."""
        self.timers.append(ms)

    def immediate_wake(self) -> None:
        """Now."""
        self.woken += 1


class Process:
    """A process that does nothing by itself."""

    exporter = None

    def __init__(self) -> None:
        self.stopping = self.opened = False
        self.commands: dict[str, Any] = {}
        self.doing = ""

    def open(self) -> None:
        """Start."""
        self.opened = True

    def command(self, name: str, usage: str, low: int, high: int, run: Any) -> None:
        """Offer a command."""
        self.commands[name] = run

    def problems(self) -> list[str]:
        """Nothing is wrong with it."""
        return []

    def tell(self, doing: str) -> None:
        """Say what is done."""
        self.doing = doing

    def poll(self) -> None:
        """Nobody asks."""

    def wait(self, poller: Any) -> None:
        """Wait for somebody who does."""
        poller.armed.append(self)

    def close(self) -> None:
        """End."""
        self.opened = False


class Database(Session):
    """A database that is always awake, and breaks when the test says so."""

    remotes, connected, problem = "unix:x", True, ""
    broken = False
    passes = 0

    def open(self) -> None:
        """Connect."""

    def receive(self) -> bool:
        """Every look finds something."""
        self.passes += 1
        if self.broken:
            raise OSError("broken")
        return True

    def wait(self, poller: Any) -> None:
        """It would wake at once."""
        poller.immediate_wake()

    def close(self) -> None:
        """Disconnect; also this may fail."""
        if self.broken:
            raise OSError("broken")

    @property
    def idl(self) -> Any:
        """Tables without rows."""
        return SimpleNamespace(tables=defaultdict(lambda: SimpleNamespace(rows={})))

    def changes(self) -> list[object]:
        """No row has changed."""
        return []

    def first(self, _table: str) -> None:
        """There is no row."""

    def count(self, _table: str) -> int:
        """There is no row."""
        return 0


def driven() -> tuple[Northd, Process, Database, Time]:
    """A northd that the test takes through its turns."""
    process, sb, time = Process(), Database(), Time()
    northd = Northd(process, Database(), sb, Database(), clock=time)  # type: ignore[arg-type]
    northd.open()
    return northd, process, sb, time


def test_turn_that_fails_is_followed_by_a_second_of_rest() -> None:
    """Whatever wakes it meanwhile, nothing is tried, and nothing is said; then it starts over."""
    northd, _, sb, time = driven()
    sb.broken = True
    for _ in range(1000):
        northd.turn()
        poller = Poller()
        northd.wait(poller)
        assert (poller.woken, len(poller.timers)) == (0, 1)
        time.now += 0.002
    assert sb.passes == 2
    sb.broken = False
    time.now += 1.0
    northd.turn()
    poller = Poller()
    northd.wait(poller)
    assert (sb.passes, poller.woken > 0) == (3, True)


def test_what_changes_between_two_evaluations_wakes_once() -> None:
    """The first change is decided about at once; what follows it at most a fifth of a second on."""
    northd, _, sb, time = driven()

    def listens() -> bool:
        northd.turn()
        poller = Poller()
        northd.wait(poller)
        return poller.woken > 0

    assert listens()
    assert not listens()
    time.now += 0.1
    assert not listens()
    sb.busy = True
    assert listens()
    sb.busy = False
    time.now += 0.2
    assert listens()


def test_process_that_is_to_end_is_not_kept_waiting() -> None:
    """Not even by a turn that failed; and all that was opened is closed."""
    northd, process, sb, _ = driven()
    sb.broken = True
    northd.turn()
    process.stopping = True
    poller = Poller()
    northd.wait(poller)
    assert poller.woken == 1
    assert "Status: standby" in process.commands["status"]([])
    sb.broken = False
    northd.close()
    assert not process.opened


def test_evaluations_have_a_share_of_the_time_and_no_more(northd: Watched) -> None:
    """However often rows change: they are rare when they are quick, and rarer when they are not."""
    time = Time()
    northd._clock = time
    northd._nb.receive = lambda: True  # type: ignore[method-assign]
    for cost_s, most in ((0.0, 51), (0.01, 51), (0.5, 5)):
        northd.cost = lambda cost_s=cost_s: setattr(time, "now", time.now + cost_s)
        begin, before = time.now, northd.decisions
        while time.now < begin + 10.0:
            northd._turn(time.now)
            time.now += 0.001
        assert most * 0.8 <= northd.decisions - before <= most
