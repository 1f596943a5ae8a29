# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec doctor`."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from ..errors import EdgeError
from .checkup import Check, examine
from .local import NEXT_WITHOUT, PROGRAM, ask, ask_peers, own_socket
from .output import complain, say_json
from .settings import Exit, Settings


@click.command(name="doctor")
@click.option(
    "-t",
    "--target",
    metavar="SOCKET",
    help=f"Control socket of {PROGRAM} (default: that of the one running here).",
)
@click.pass_obj
def command(settings: Settings, target: str | None) -> None:
    """Look at every part of this chassis, with a next step for what is not well.

    It asks the controller and no database: name, southbound, policy, IKE daemon, credentials,
    guard, pairs, and each problem that the controller names.
    """
    try:
        socket = target or own_socket()
        checks = examine(
            ask(socket, "status", "json"), ask(socket, "guard/show"), ask_peers(socket)
        )
    except EdgeError as error:
        complain(error.diagnostics(), NEXT_WITHOUT)
        sys.exit(Exit.CANNOT_TELL)
    if settings.as_json:
        say_json([asdict(check) for check in checks])
    else:
        _show(checks)
    sys.exit(Exit.WELL if all(check.is_well for check in checks) else Exit.DEGRADED)


def _show(checks: tuple[Check, ...]) -> None:
    from .tables import Screen  # noqa: PLC0415 - --help stays quick

    screen = Screen()
    width = max(len(check.part) for check in checks)
    for check in checks:
        verdict, colour = ("well", "green") if check.is_well else ("BAD ", "bold red")
        screen.line(f"{verdict}  {check.part.ljust(width)}  {check.said}", colour)
        if check.next_step:
            screen.line(f"      {' ' * width}  next: {check.next_step}")
