# SPDX-License-Identifier: Apache-2.0
"""Processors in virtual time: what a program does takes as long as it was measured to take.

A pass of a program sees the world as it is when the pass begins. What it sends leaves when the time
before that is spent, and its next pass begins when all of it is. A program's own computation is
that of the real code: its CPU time is measured here, and what the simulations around it use is
left out.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from tests.fakes.ovsdb import FakeDatabase, FakeSession, Op
from tests.fakes.timeline import Timeline, TimelineClock
from tests.simulation.engine import FakePoller, Process, Program

from .costs import Costs


class Processor:
    """One processor: jobs one after the other; a call goes before those that wait."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._jobs: deque[tuple[float, Callable[[], None]]] = deque()
        self._busy = False
        self._calls_until = self._free_at = timeline.now
        self.used_s = 0.0
        """All that it has done."""

    def job(self, cost_s: float, run: Callable[[], None]) -> None:
        """Do something when its turn has come; ``run`` is called at its end."""
        if not (self._busy or cost_s) and self._calls_until <= self._timeline.now:
            run()
            return
        self._jobs.append((cost_s, run))
        if not self._busy:
            self._next()

    def call(self, at: float, cost_s: float) -> float:
        """Serve somebody who waits, from a time on.

        Returns:
            When that is done: after the job in hand.
        """
        self.used_s += cost_s
        begin = self._free_at if self._busy else self._timeline.now
        self._calls_until = max(self._calls_until, begin) + cost_s
        return max(at + cost_s, self._calls_until)

    def _next(self) -> None:
        self._busy = bool(self._jobs)
        if self._busy:
            cost_s, run = self._jobs.popleft()
            self.used_s += cost_s
            now = self._timeline.now
            delay_s = cost_s + (self._calls_until - now if self._calls_until > now else 0.0)
            self._free_at = now + delay_s
            self._timeline.after(delay_s, partial(self._end, run))

    def _end(self, run: Callable[[], None]) -> None:
        run()
        self._next()


class Stopwatch:
    """CPU seconds of this thread, while it runs."""

    def __init__(self) -> None:
        self._found_s = 0.0
        self._since: float | None = None

    def restart(self) -> None:
        """Begin at nothing."""
        self._found_s, self._since = 0.0, time.thread_time()

    def stop(self) -> bool:
        """Hold on. Returns whether it ran."""
        ran = self._since is not None
        self._found_s, self._since = self.read_s(), None
        return ran

    def go_on(self) -> None:
        """Run again."""
        self._since = time.thread_time()

    def read_s(self) -> float:
        """What has been counted."""
        running = 0.0 if self._since is None else time.thread_time() - self._since
        return self._found_s + running


class Unmetered:
    """Something simulated, whose own computation is not that of the program that calls it."""

    def __init__(self, inner: Any, watch: Stopwatch) -> None:
        self._inner, self._watch = inner, watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found
        watch = self._watch

        def call(*args: Any, **kwargs: Any) -> Any:
            ran = watch.stop()
            try:
                return found(*args, **kwargs)
            finally:
                if ran:
                    watch.go_on()

        return call


class BusyProcess(Process):
    """A program that has a processor for itself, and whose calls have a cost."""

    def __init__(
        self,
        timeline: Timeline,
        name: str,
        start: Callable[[Process], Program],
        costs: Costs,
        daemon: Processor | None = None,
    ) -> None:
        """Store what it is.

        Args:
            timeline: When things happen.
            name: Of it.
            start: Makes the program.
            costs: Of its calls.
            daemon: The processor of the IKE daemon that it calls.
        """
        super().__init__(timeline, name, lambda process: _Metered(self, start(process)))
        self.watch = Stopwatch()
        self.cpu_s = 0.0
        """What the program itself has used in all passes, on the simulated machine."""
        self._costs, self._daemon = costs, daemon
        self.count_sas: Callable[[], int] = int
        """How many IKE_SAs that daemon has."""
        self._calls_s = 0.0
        """What calls of this pass have taken."""
        self._in_pass = False
        self._free_at = timeline.now

    @property
    def lag_s(self) -> float:
        """How far the pass under way has come; nothing outside of a pass."""
        return self._calls_s + self.watch.read_s() * self._costs.cpu if self._in_pass else 0.0

    def begin(self) -> None:
        """Begin a pass."""
        self._calls_s, self._in_pass = 0.0, True
        self.watch.restart()

    def end(self) -> None:
        """End it."""
        self.watch.stop()
        self._free_at = self.timeline.now + self.lag_s
        self.cpu_s += self.watch.read_s() * self._costs.cpu
        self._in_pass = False

    def gate(self, call: str) -> None:
        """Let time pass for a call to the outside."""
        self.calls[call] += 1
        if self._daemon is None or not call.startswith("ike."):
            return
        self._calls_s += self._costs.vici_s
        costs = self._costs
        cost_s = {
            "ike.load": costs.load_s,
            "ike.observe_sas": costs.list_one_s,
            "ike.observe": costs.list_all_s * self.count_sas(),
        }
        at = self.timeline.now + self.lag_s
        self._calls_s += self._daemon.call(at, cost_s.get(call, 0.0)) - at

    def _plan(self, delay_s: float) -> None:
        super()._plan(delay_s + max(0.0, self._free_at - self.timeline.now))


class _Metered:
    """A program whose passes are measured."""

    def __init__(self, process: BusyProcess, inner: Program) -> None:
        self._process, self._inner = process, inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def step(self) -> None:
        """One pass."""
        self._process.begin()
        self._inner.step()

    def wait(self, poller: FakePoller) -> None:
        """Its end."""
        self._inner.wait(poller)
        self._process.end()


class BusyClock(TimelineClock):
    """The clock of a program: during a pass, time passes."""

    def __init__(self, timeline: Timeline, process: BusyProcess) -> None:
        super().__init__(timeline)
        self._process = process

    def monotonic(self) -> float:
        """See Clock."""
        return super().monotonic() + self._process.lag_s

    def utc_now(self) -> datetime:
        """See Clock; it need not be that exact."""
        return super().utc_now()


def delayed(session: FakeSession, process: BusyProcess, server: Processor, costs: Costs) -> None:
    """Let what a program writes leave when it has come that far, and cost the server something."""
    send, commit, timeline = session._to_server, session._commit, process.timeline

    def to_server(run: Callable[[FakeDatabase], None]) -> None:
        timeline.after(process.lag_s, lambda: send(run))

    def commits(database: FakeDatabase, ops: list[Op], lock: str | None) -> None:
        server.job(costs.transaction_s, lambda: commit(database, ops, lock))

    session._to_server, session._commit = to_server, commits  # type: ignore[method-assign]
