# SPDX-License-Identifier: Apache-2.0
"""Shell: what both daemons share: flags, pidfile, appctl, signals, systemd, the poll loop."""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click
import ovs.poller
import ovs.unixctl
import ovs.unixctl.server

from . import __version__, clock, log
from .errors import IPsecError
from .model.chassis import IpAddress

if TYPE_CHECKING:
    from .metrics import Exporter

Command = Callable[[list[str]], str]
F = TypeVar("F", bound=Callable[..., Any])

OVS_RUNDIR = os.environ.get("OVS_RUNDIR", "/var/run/openvswitch")
OVN_RUNDIR = os.environ.get("OVN_RUNDIR", "/var/run/ovn")
OVN_SYSCONFDIR = os.environ.get("OVN_SYSCONFDIR", "/etc/ovn")
_PR_SET_DUMPABLE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The flags that both daemons take."""

    pidfile: str | None
    log_file: str | None
    log_format: str
    log_level: str
    unixctl: str | None
    private_key: str | None
    certificate: str | None
    ca_cert: str | None
    metrics_port: int | None
    metrics_address: IpAddress


def common_options(command: F) -> F:
    """Add the flags of Common to a click command, which gets them as one argument `common`."""

    def collected(**kwargs: Any) -> Any:
        names = Common.__dataclass_fields__
        common = Common(**{name: kwargs.pop(name) for name in names})
        return command(common=common, **kwargs)

    collected.__name__ = command.__name__
    collected.__doc__ = command.__doc__
    collected.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected  # type: ignore[return-value]


def _address(_context: click.Context, parameter: click.Parameter, text: str) -> IpAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an IP address", param=parameter) from None


_OPTIONS = (
    click.option("--pidfile", metavar="FILE", help="Pidfile (default: in the run directory)."),
    click.option("--log-file", metavar="FILE", help="Log to FILE (default: standard error)."),
    click.option("--log-format", type=click.Choice(["text", "json"]), default="text"),
    click.option("--log-level", type=click.Choice(list(log.LEVELS)), default="info"),
    click.option("--unixctl", metavar="SOCKET", help="Control socket, for appctl -t."),
    click.option("-p", "--private-key", metavar="FILE", help="Key for ssl: remotes."),
    click.option("-c", "--certificate", metavar="FILE", help="Certificate for ssl: remotes."),
    click.option("-C", "--ca-cert", metavar="FILE", help="CA of the other end of ssl: remotes."),
    click.option(
        "--metrics-port",
        metavar="PORT",
        type=click.IntRange(1, 65535),
        help="Serve metrics for Prometheus, over HTTP at /metrics (default: not at all).",
    ),
    click.option(
        "--metrics-address",
        metavar="IP",
        default="127.0.0.1",
        show_default=True,
        callback=_address,
        help="Where; :: for every address. Nobody is asked who they are.",
    ),
    click.version_option(__version__),
)


def notify_systemd(state: str) -> None:
    """Tell systemd of a state (sd_notify(3)); nothing happens outside a Type=notify unit."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        target = "\0" + address[1:] if address.startswith("@") else address
        sock.sendto(state.encode(), target)


def leave_no_core() -> None:
    """See to it that this process is never dumped, nor read by another of its user: it has keys.

    A limit alone would not hold where cores go to a program (core(5)).

    Raises:
        IPsecError: The kernel refuses.

    Source:
        linux/prctl.h, PR_SET_DUMPABLE; prctl(2).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise IPsecError("prctl: PR_SET_DUMPABLE was refused")


class Pidfile:
    """A locked pidfile: the lock, not the number in it, says that the program runs."""

    def __init__(self, path: Path) -> None:
        """Store the path."""
        self.path = path
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Create, lock and fill the file.

        Raises:
            IPsecError: Another process holds it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("a+", encoding="ascii")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise IPsecError(f"{self.path}: already running as pid {file.read().strip()}") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file
        atexit.register(self.drop)

    def drop(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


class Service:
    """The process around a loop: start-up, commands from appctl, signals, and an end."""

    def __init__(self, program: str, common: Common, *, rundir: str) -> None:
        """Store the flags.

        Args:
            program: Name for appctl, pidfile and log.
            common: Flags.
            rundir: Where appctl looks for the pidfile and the socket.
        """
        self.program = program
        self.stopping = False
        self.exporter: Exporter | None = None
        """Set by open() if metrics are asked for."""
        self._reopen = False
        self._pidfile = Pidfile(Path(common.pidfile or f"{rundir}/{program}.pid"))
        self._socket = common.unixctl or f"{rundir}/{program}.{os.getpid()}.ctl"
        self._common = common
        self._unixctl: Any = None
        self._woken: socket.socket | None = None

    def open(self) -> None:
        """Take the pidfile, open log, metrics and control socket, catch signals."""
        leave_no_core()
        common = self._common
        self._log = log.configure(
            self.program, path=common.log_file, form=common.log_format, level=common.log_level
        )
        self._pidfile.take()
        if common.metrics_port is not None:
            from .metrics import Exporter  # noqa: PLC0415 - a tenth of a second that few need

            self.exporter = Exporter(common.metrics_address, common.metrics_port)
            self.exporter.open()
        error, self._unixctl = ovs.unixctl.server.UnixctlServer.create(self._socket, __version__)
        if error:
            raise IPsecError(f"{self._socket}: {os.strerror(error)}")
        _keep_alive("set-options")
        self._woken, writer = socket.socketpair()
        self._woken.setblocking(False)
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.detach())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._hang_up)
        self.command("exit", "", 0, 1, self._exit)
        self.command("vlog/reopen", "", 0, 0, self._vlog_reopen)

    def _exit(self, _argv: list[str]) -> str:
        self._stop()
        return ""

    def _vlog_reopen(self, _argv: list[str]) -> str:
        self._log.reopen()
        return ""

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _hang_up(self, *_: object) -> None:
        self._reopen = True

    def command(self, name: str, usage: str, low: int, high: int, run: Command) -> None:
        """Offer a command to appctl; run gets its words and returns the text to print."""

        def reply(connection: Any, argv: list[Any], _aux: object) -> None:
            try:
                text = run([word if isinstance(word, str) else word.decode() for word in argv])
            except IPsecError as error:
                connection.reply_error(error.diagnostics())
            else:
                connection.reply(text)

        ovs.unixctl.command_register(name, usage, low, high, reply, None)

    def run(self) -> None:
        """Answer what appctl asks."""
        if self._reopen:
            self._reopen = False
            self._log.reopen()
        self._unixctl.run()

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller with commands, signals, and the time to say how the program is."""
        self._unixctl.wait(poller)
        if self.exporter is not None:
            poller.timer_wait(int(self.exporter.delay_s(clock.monotonic()) * 1000) + 1)
        if self._woken is not None:
            try:
                while self._woken.recv(64):
                    poller.immediate_wake()
            except BlockingIOError:
                pass
            poller.fd_wait(self._woken.fileno(), ovs.poller.POLLIN)

    def close(self) -> None:
        """Close the control socket and drop the pidfile; nothing else is undone."""
        notify_systemd("STOPPING=1")
        if self._unixctl is not None:
            self._unixctl.close()
        self._pidfile.drop()


def _keep_alive(name: str) -> None:
    """See to it that arguments which a command of the ovs library refuses do not end the program.

    It parses them with argparse, and lets that exit (ovs 3.5, python/ovs/unixctl/server.py).
    """
    command = ovs.unixctl.commands.get(name)
    if command is None:
        return
    callback = command.callback

    def reply(connection: Any, argv: list[str], aux: object) -> None:
        try:
            callback(connection, argv, aux)
        except SystemExit:
            connection.reply_error(f"{name}: expected {command.usage}")

    command.callback = reply


def fail(program: str, error: IPsecError) -> None:
    """Print why a program cannot start, and end it with status 1."""
    click.echo(f"{program}: {error.diagnostics()}", err=True)
    sys.exit(1)
