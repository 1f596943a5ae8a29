# SPDX-License-Identifier: Apache-2.0
"""Edge: the control socket, where ovs-appctl asks: what is offered there, and how it is answered.

Every answer ends with the end of a line, and so does every refusal: ovs-appctl before 3.4 prints
what it is told and adds nothing, and the ovs library since 3.5 adds nothing either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ovs.poller
import ovs.unixctl
import ovs.unixctl.server
import ovs.version
import structlog

from . import __version__
from .errors import IPsecError
from .model.text import printable, printable_lines

Run = Callable[[list[str]], str]
"""Gets the words behind a command, and returns the text to print."""
MANY = 2**31 - 1
"""Words, where there is no limit."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Offer:
    """A command that appctl may call."""

    name: str
    usage: str
    """Its words, as list-commands prints them."""
    low: int
    """Words that it takes at least."""
    high: int
    """And at most."""
    meaning: str
    """What it does, for the reference and the man page."""

    @property
    def shape(self) -> tuple[str, str, int, int]:
        """How it is called."""
        return self.name, self.usage, self.low, self.high


LIST = Offer("list-commands", "", 0, 0, "List all commands; so does help.")
VERSION = Offer("version", "", 0, 0, "Print the version of the program and of the OVS library.")
LIBRARY = (
    Offer("help", "", 0, 0, "List all commands."),
    Offer(
        "set-options",
        "[--format text|json]",
        1,
        2,
        "Set the form of the answers on this connection; ovs-appctl --format sends it.",
    ),
)
"""What the ovs library offers by itself; the second not before 3.5."""


class ControlSocket:
    """One control socket; the commands behind it are those of the whole process."""

    def __init__(self, program: str, path: str) -> None:
        """Store them, and offer what every program does; open() listens.

        Args:
            program: For `version`.
            path: Of the socket.
        """
        self.path = path
        self._program = program
        self._server: Any = None

    def open(self) -> None:
        """Listen, and offer what every program does.

        Raises:
            IPsecError: The socket cannot be had.
        """
        offer(*VERSION.shape, lambda _: self._version())
        offer(*LIST.shape, lambda _: listed())
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        ovs.unixctl.server.UnixctlConnection = _Connection
        error, self._server = ovs.unixctl.server.UnixctlServer.create(self.path, __version__)
        if error:
            self._server = None
            raise IPsecError(f"control socket {self.path}: {os.strerror(error)}")
        _keep_alive("set-options")

    def answer(self) -> None:
        """Answer what was asked."""
        if self._server is not None:
            self._server.run()

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller with what may be asked."""
        if self._server is not None:
            self._server.wait(poller)

    def close(self) -> None:
        """Listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _version(self) -> str:
        library = ovs.version.VERSION
        return f"{self._program} {__version__}\nOpen vSwitch Library {library}"


def offer(name: str, usage: str, low: int, high: int, run: Run) -> None:
    """Offer a command. One that fails answers so, and nothing else fails with it."""

    def reply(connection: Any, argv: list[Any], _aux: object) -> None:
        try:
            text = run([word if isinstance(word, str) else word.decode() for word in argv])
        except IPsecError as error:
            connection.reply_error(error.diagnostics())
        except Exception as error:  # noqa: BLE001 - one question must not end the answers
            _log.exception("command_failed", command=name)
            connection.reply_error(printable(f"{name}: {type(error).__name__}: {error}"))
        else:
            connection.reply(printable_lines(text))

    ovs.unixctl.command_register(name, usage, low, high, reply, None)


def listed() -> str:
    """All commands as ovs-vswitchd lists them.

    Source:
        ovs lib/unixctl.c, unixctl_list_commands.
    """
    lines = ["The available commands are:"]
    lines += [f"  {name:<23} {found.usage}".rstrip() for name, found in _commands()]
    return "\n".join(lines)


def _commands() -> Iterable[tuple[str, Any]]:
    found: dict[str, Any] = ovs.unixctl.commands
    return sorted(found.items())


class _Connection(ovs.unixctl.server.UnixctlConnection):  # type: ignore[misc]
    """A connection on which whatever is said ends with the end of a line."""

    def reply(self, body: str | None) -> None:
        """Answer."""
        super().reply(_ended(body))

    def reply_error(self, body: str | None) -> None:
        """Refuse."""
        super().reply_error(_ended(body))


def _ended(text: str | None) -> str | None:
    return f"{text}\n" if text and not text.endswith("\n") else text


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
