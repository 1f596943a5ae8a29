# SPDX-License-Identifier: Apache-2.0
"""Shell: the process of a daemon: pidfile, log file, appctl, signals, systemd, the poll loop."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click
import ovs.poller
import structlog

from . import clock, control, log
from .clock import Clock
from .control import MANY, ControlSocket, Offer, offer
from .control import Run as Command
from .errors import IPsecError
from .flags import Common
from .model import vlog
from .model.text import printable
from .process import (
    AlreadyRunningError,
    Pidfile,
    StatusLine,
    leave_no_core,
    notify_systemd,
    watchdog_interval_s,
)

if TYPE_CHECKING:
    from .metrics import Exporter

RETRY_S = 10.0
"""Between attempts at what could not be opened."""
NO_CLEANUP = "--no-cleanup"
EXIT = Offer(
    "exit",
    f"[{NO_CLEANUP}]",
    0,
    1,
    f"End the program. What is in force stays in force, with {NO_CLEANUP} and without.",
)
REOPEN = Offer("vlog/reopen", "", 0, 0, "Open the log file anew, after logrotate has moved it.")
LIST = Offer("vlog/list", "", 0, 0, "Print from which level on each module writes to the log.")
SET = Offer(
    "vlog/set",
    "[spec]",
    0,
    MANY,
    "Set levels until the program ends. A spec is MODULE:DESTINATION:LEVEL in any order, each of "
    "which may be left out: a module of vlog/list, the place where lines go (console, or file "
    "with --log-file), and off, err, warn, info or dbg, which is dbg where none is said. "
    "A spec that cannot be followed is refused, and then none is.",
)
OFFERS = (EXIT, LIST, SET, REOPEN, control.LIST, control.VERSION, *control.LIBRARY)
"""What appctl may ask of both daemons."""
__all__ = ["AlreadyRunningError", "Process", "Service", "notify_systemd"]


class Process(Protocol):
    """What a daemon needs of the process around its loop: Service, or what stands for it."""

    stopping: bool
    """Whether somebody has asked for the end."""
    exporter: Exporter | None
    """Where metrics go; None where nobody asks for them."""

    def open(self) -> None:
        """Start up; only AlreadyRunningError is raised."""

    def command(self, name: str, usage: str, low: int, high: int, run: Command) -> None:
        """Offer a command to appctl."""

    def problems(self) -> list[str]:
        """What of the process itself is not as it should be, for status and digest."""

    def tell(self, doing: str) -> None:
        """Say in one line what the daemon waits for or does, to whoever asks systemd."""

    def poll(self) -> None:
        """Answer what appctl asks; raises nothing."""

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller with everything that poll() could act on."""

    def close(self) -> None:
        """End."""


class Service:
    """The process around a loop: start-up, commands from appctl, signals, and an end.

    Nothing here stands in front of what the loop is for: a log file, a metrics port, a pidfile, a
    control socket that cannot be had is a problem, tried again every RETRY_S, and the loop goes on.
    The one exception is a live process of the same program.
    """

    def __init__(
        self, program: str, common: Common, *, rundir: str, clock: Clock = clock.SYSTEM
    ) -> None:
        """Store the flags.

        Args:
            program: Name for appctl, pidfile and log.
            common: Flags.
            rundir: Where appctl looks for the pidfile and the socket.
            clock: When what has failed is tried again.
        """
        self.program = program
        self.stopping = False
        self.exporter: Exporter | None = None
        """Set by open() if metrics are asked for."""
        self._clock = clock
        self._reopen_wanted = False
        self._pidfile = Pidfile(Path(common.pidfile or f"{rundir}/{program}.pid"))
        path = common.unixctl or f"{rundir}/{program}.{os.getpid()}.ctl"
        self._control = ControlSocket(program, path)
        self._common = common
        self._signals: socket.socket | None = None
        self._log = log.LogFile(None)
        self._events = structlog.get_logger()
        self._problems: dict[str, str] = {}
        """By part, what is not as it should be, except what log and metrics know themselves."""
        self._repairs: dict[str, Callable[[], None]] = {
            "pidfile": self._pidfile.take,
            "metrics": self._open_exporter,
            "control socket": self._control.open,
        }
        self._logged: dict[str, str] = {}
        self._retry_at = float("inf")
        self._status_line = StatusLine(clock)
        self._watchdog_s = watchdog_interval_s()
        self._alive_at = clock.monotonic()
        """When systemd is to hear again that the loop goes round."""

    def open(self) -> None:
        """Take the pidfile, open log, metrics and control socket, catch signals.

        Raises:
            AlreadyRunningError: This program runs already.
        """
        common = self._common
        self._log = log.configure(
            self.program,
            path=common.log_file,
            form=common.log_format,
            level=common.log_level,
            clock=self._clock,
        )
        self._attempt("core", leave_no_core)
        self._attempt("pidfile", self._pidfile.take)
        if common.metrics_port is not None:
            self._attempt("metrics", self._open_exporter)
        self._attempt("control socket", self._control.open)
        self._catch_signals()
        self.command(*EXIT.shape, self._exit)
        self.command(*REOPEN.shape, self._vlog_reopen)
        self.command(*LIST.shape, self._vlog_list)
        self.command(*SET.shape, self._vlog_set)
        self._retry()
        self._log_changes()

    def problems(self) -> list[str]:
        """What of the process itself is not as it should be, for status and digest."""
        return [text for _, text in sorted(self._all_problems().items())]

    def _all_problems(self) -> dict[str, str]:
        found = dict(self._problems)
        if self._log.problem:
            found["log"] = self._log.problem
        if self.exporter is not None and self.exporter.problem:
            found.setdefault("metrics", self.exporter.problem)
        return found

    def _attempt(self, part: str, act: Callable[[], None]) -> None:
        try:
            act()
        except AlreadyRunningError as error:
            if self._signals is None:
                raise
            self._problems[part] = error.diagnostics()
        except IPsecError as error:
            self._problems[part] = error.diagnostics()
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop is worth more
            self._problems[part] = printable(f"{part}: {str(error) or type(error).__name__}")
        else:
            self._problems.pop(part, None)

    def _retry(self) -> None:
        """Try again what has failed, if it is time to."""
        now = self._clock.monotonic()
        if now >= self._retry_at:
            self._retry_at = float("inf")
            self._log.retry()
            for part in self._problems.keys() & self._repairs.keys():
                self._attempt(part, self._repairs[part])
        if self._retry_at == float("inf") and self._is_worth_a_retry():
            self._retry_at = now + RETRY_S

    def _is_worth_a_retry(self) -> bool:
        return bool(self._log.problem or self._problems.keys() & self._repairs.keys())

    def _log_changes(self) -> None:
        """Log what has changed among the problems."""
        found = self._all_problems()
        if found == self._logged:
            return
        for part in sorted(found.keys() | self._logged.keys()):
            text, before = found.get(part), self._logged.get(part)
            if text is None:
                self._events.info("service_problem_over", part=part)
            elif text != before:
                self._events.error("service_problem", part=part, reason=text)
        self._logged = found

    def tell(self, doing: str) -> None:
        """Say in one line what the daemon waits for or does, to whoever asks systemd."""
        self._status_line.put(doing)

    def _tell_alive(self) -> None:
        """Tell systemd that the loop goes round; it ends a daemon that hangs and starts another."""
        now = self._clock.monotonic()
        if self._watchdog_s != float("inf") and now >= self._alive_at:
            self._alive_at = now + self._watchdog_s
            notify_systemd("WATCHDOG=1")

    def _open_exporter(self) -> None:
        from .metrics import Exporter  # noqa: PLC0415 - a tenth of a second that few need

        if self.exporter is None and self._common.metrics_port is not None:
            self.exporter = Exporter(self._common.metrics_address, self._common.metrics_port)
        if self.exporter is not None:
            self.exporter.open()

    def _catch_signals(self) -> None:
        self._signals, writer = socket.socketpair()
        self._signals.setblocking(False)
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._hang_up)

    def _exit(self, argv: list[str]) -> str:
        if argv not in ([], [NO_CLEANUP]):
            raise IPsecError(f"exit: expected {EXIT.usage}; nothing is ever cleaned up by it")
        self._stop()
        return ""

    def _vlog_reopen(self, _argv: list[str]) -> str:
        self._log.reopen()
        if self._log.problem:
            raise IPsecError(self._log.problem)
        return ""

    def _vlog_list(self, _argv: list[str]) -> str:
        return vlog.table(self._log.levels.by_module(), self._log.destination)

    def _vlog_set(self, argv: list[str]) -> str:
        levels = self._log.levels
        try:
            levels.put(vlog.parse(argv, levels.by_module(), self._log.destination))
        except vlog.SpecError as error:
            raise IPsecError(str(error)) from None
        return ""

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _hang_up(self, *_: object) -> None:
        self._reopen_wanted = True

    def command(self, name: str, usage: str, low: int, high: int, run: Command) -> None:
        """Offer a command to appctl; run gets its words and returns the text to print.

        One that fails answers so, and nothing else fails with it.
        """
        offer(name, usage, low, high, run)

    def poll(self) -> None:
        """Answer what appctl asks, and try again what could not be opened; raises nothing."""
        if self._reopen_wanted:
            self._reopen_wanted = False
            self._log.reopen()
        try:
            self._control.answer()
        except Exception as error:  # noqa: BLE001 - as for one that cannot be opened
            self._events.exception("control_socket_failed")
            self._problems["control socket"] = printable(f"control socket: {error!r}")
            self._close_control()
        self._retry()
        self._log_changes()
        self._status_line.send()
        self._tell_alive()

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller with commands, signals, and the time to say how the program is."""
        now = self._clock.monotonic()
        self._control.wait(poller)
        if self.exporter is not None:
            poller.timer_wait(int(self.exporter.delay_s(now) * 1000) + 1)
        times = [self._retry_at, self._status_line.wake_at()]
        if self._watchdog_s != float("inf"):
            times.append(self._alive_at)
        if min(times) != float("inf"):
            poller.timer_wait(max(0, int((min(times) - now) * 1000)) + 1)
        if self._signals is not None:
            try:
                while self._signals.recv(64):
                    poller.immediate_wake()
            except BlockingIOError:
                pass
            poller.fd_wait(self._signals.fileno(), ovs.poller.POLLIN)

    def close(self) -> None:
        """Close the control socket and drop the pidfile; nothing else is undone."""
        notify_systemd("STOPPING=1")
        self._close_control()
        self._pidfile.drop()

    def _close_control(self) -> None:
        self._attempt("closing", self._control.close)
        self._problems.pop("closing", None)


def fail(program: str, error: IPsecError) -> None:
    """Print why a program cannot start, and end it with status 1."""
    click.echo(f"{program}: {error.diagnostics()}", err=True)
    sys.exit(1)
