# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec doctor`."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import click

from ...errors import EdgeError
from ..local import NEXT_WITHOUT, PROGRAM, ask, ask_peers, own_socket
from ..output import complain, say_json
from ..settings import Exit, Settings
from .checkup import Check, examine, verdict


@click.command(name="doctor")
@click.option(
    "-t",
    "--target",
    metavar="SOCKET",
    help=f"Control socket of {PROGRAM} (default: that of the one on this host).",
)
@click.option(
    "--ovs-db",
    metavar="REMOTE",
    help="Database of the local Open vSwitch (default: db.sock next to the control socket).",
)
@click.pass_obj
def command(settings: Settings, target: str | None, ovs_db: str | None) -> None:
    """Check every part of this chassis, and give a next step for each problem.

    It asks the controller for its name, southbound, policy, IKE daemon, credentials, ESP, guard,
    pairs and problems. It also checks what the controller cannot know: the rows of this chassis and
    its peers (found by ovn-remote in the local Open vSwitch), the addresses of this host, and
    ovs-vswitchd. Exit status: 0 healthy, 1 degraded, 2 if nothing is wrong but something could not
    be checked.
    """
    try:
        checks = _checks(settings, target or own_socket(), ovs_db)
    except EdgeError as error:
        complain(error.diagnostics(), NEXT_WITHOUT)
        sys.exit(Exit.CANNOT_TELL)
    if settings.as_json:
        say_json([asdict(check) for check in checks])
    else:
        _show(checks)
    sys.exit(verdict(checks))


def _checks(settings: Settings, socket: str, ovs_db: str | None) -> tuple[Check, ...]:
    from .host import look  # noqa: PLC0415 - --help stays quick
    from .hostcheck import examine_host  # noqa: PLC0415

    status = ask(socket, "status", "json")
    told = examine(status, ask(socket, "guard/show"), ask_peers(socket))
    name = status.get("chassis")
    name = None if name is None else str(name)
    seen = look(settings, name, rundir=Path(socket).parent, ovs_db=ovs_db)
    return (*told, *examine_host(name, seen))


def _show(checks: tuple[Check, ...]) -> None:
    from ..tables import Screen  # noqa: PLC0415 - --help stays quick
    from .layout import lay_out  # noqa: PLC0415

    screen = Screen()
    for line in lay_out(checks, screen_width()):
        screen.line(line.text, line.style)


def screen_width() -> int | None:
    """Columns of the terminal; None: it is none, and nothing is folded."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
