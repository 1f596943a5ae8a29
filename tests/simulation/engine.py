# SPDX-License-Identifier: Apache-2.0
"""Programs in virtual time: one pass after the other, woken by what they wait for, and their ends.

A call to the outside goes through the gate of its program, where a plan may let it fail, hang, or
end the program there and then. While a call hangs the rest of the world goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ovn_ipsec.errors import EdgeError, IkeError, IPsecError, NftError, XfrmError
from tests.fakes.timeline import Timeline

from . import logs

PASS_S = 0.002
"""What a pass takes at least."""
HANG_S = 10.0
"""When a call to an IKE daemon that hangs is given up (controller/ike/transport.py)."""


class Crash(BaseException):
    """The program ends here, whatever it was about to do."""


class Program(Protocol):
    """What runs in a process."""

    def step(self) -> None:
        """Do one pass."""

    def wait(self, poller: FakePoller) -> None:
        """Say what it waits for."""


@dataclass(slots=True)
class FakePoller:
    """Takes down what a program waits for (see ovs.poller.Poller)."""

    fds: set[int] = field(default_factory=set)
    after_s: float = float("inf")

    def fd_wait(self, fd: int, events: int) -> None:
        """Wait for a descriptor."""
        if fd >= 0 and events:
            self.fds.add(fd)

    def timer_wait(self, milliseconds: float) -> None:
        """Wait for a time."""
        self.after_s = min(self.after_s, max(0.0, milliseconds / 1000))

    def immediate_wake(self) -> None:
        """Do not wait."""
        self.after_s = 0.0


ERRORS: dict[str, Callable[[str], Exception]] = {
    "ike": IkeError,
    "nft": NftError,
    "xfrm": XfrmError,
    "kernel": XfrmError,
    "disk": EdgeError,
}


class Process:
    """A program that runs, ends and is started again."""

    def __init__(self, timeline: Timeline, name: str, start: Callable[[Process], Program]) -> None:
        """Store what it is.

        Args:
            timeline: When things happen.
            name: Of it.
            start: Makes the program; called at each start.
        """
        self.timeline, self.name = timeline, name
        self._start = start
        self.program: Program | None = None
        self.passes = 0
        self.calls: Counter[str] = Counter()
        self.crash_in: int | None = None
        """Calls until it ends; None: it does not."""
        self.fails: Counter[str] = Counter()
        """How often the next calls of a kind (`ike`, `ike.load`) fail."""
        self.explodes: Counter[str] = Counter()
        """Likewise, with an error that is no EdgeError."""
        self.slow_s = 0.0
        """What each call takes."""
        self.closers: list[Callable[[], None]] = []
        """What ends with it: its connections."""
        self.on_end: Callable[[], None] = lambda: None
        self.started = 0
        self._life = 0
        self._running = False
        self._armed: set[int] = set()
        self._kicked: set[int] = set()
        self._doomed = False
        self._next = float("inf")

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.program is not None

    def start(self) -> None:
        """Start it, if it does not run."""
        if self.program is not None:
            return
        self._life += 1
        self.started += 1
        self._doomed = False
        self._kicked, self._armed = set(), set()
        self._next = float("inf")
        self._running = True
        try:
            with logs.of(self.name):
                self.program = self._start(self)
        except (Crash, IPsecError):
            self._end()
            return
        finally:
            self._running = False
        self._plan(0.0)

    def kill(self) -> None:
        """End it at once, in the midst of whatever it does."""
        if self._running:
            self._doomed = True
        else:
            self._end()

    def _end(self) -> None:
        if self.program is not None or self._running:
            self.program = None
            self._life += 1
            self.crash_in = None
            self.fails.clear()
            self.explodes.clear()
            self.slow_s = 0.0
            closers, self.closers = self.closers, []
            for close in reversed(closers):
                close()
            self.on_end()

    def kick(self, fd: int) -> None:
        """Take note that a descriptor is ready."""
        self._kicked.add(fd)
        if not self._running and fd in self._armed:
            self._plan(0.0)

    def gate(self, call: str) -> None:
        """Let a call to the outside through, or not.

        Raises:
            Crash: The program ends.
            EdgeError: The call fails.
        """
        if self._doomed:
            raise Crash
        self.calls[call] += 1
        if call == "ike.hang":
            self._pause(HANG_S)
            return
        if self.slow_s:
            self._pause(self.slow_s)
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                raise Crash
        kind = call.split(".", 1)[0]
        for name in (call, kind):
            if self.explodes[name] > 0:
                self.explodes[name] -= 1
                raise RuntimeError(f"{call}: made to explode")
            if self.fails[name] > 0:
                self.fails[name] -= 1
                raise ERRORS[kind](f"{call}: made to fail")

    def _pause(self, seconds: float) -> None:
        self.timeline.run(seconds)
        if self._doomed:
            raise Crash

    def _plan(self, delay_s: float) -> None:
        due = self.timeline.now + delay_s
        if due >= self._next:
            return
        self._next = due
        life = self._life

        def run() -> None:
            if life == self._life and self._next <= self.timeline.now and not self._running:
                self._pass()

        self.timeline.after(delay_s, run)

    def _pass(self) -> None:
        program = self.program
        if program is None:
            return
        self._next = float("inf")
        self._kicked.clear()
        self._armed = set()
        self._running = True
        self.passes += 1
        try:
            with logs.of(self.name):
                program.step()
                poller = FakePoller()
                program.wait(poller)
        except Crash:
            self._running = False
            self._end()
            return
        finally:
            self._running = False
        if self._doomed:
            self._end()
            return
        self._armed = poller.fds
        ready = bool(self._kicked & self._armed)
        self._plan(PASS_S if ready else max(PASS_S, poller.after_s))
