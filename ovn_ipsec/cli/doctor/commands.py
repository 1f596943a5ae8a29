# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec doctor`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from ...errors import EdgeError
from ..local import PROGRAM, ask, ask_peers, next_step_after, own_rundir, own_socket
from ..output import say_json
from ..settings import Settings
from .checkup import Check, examine, verdict

STATE_DIR = "/var/lib/ovn-ipsec"
F = TypeVar("F", bound=Callable[..., Any])


def place_options(command: F) -> F:
    """Add the flags that say where things of this host are."""
    for option in (
        click.option(
            "--state-dir",
            metavar="DIR",
            default=STATE_DIR,
            show_default=True,
            type=click.Path(path_type=Path),
            help=f"Folder where {PROGRAM} keeps the boot guard.",
        ),
        click.option(
            "--vici",
            metavar="URI",
            help="Socket of charon (default: as Open_vSwitch says, or unix:///run/charon.vici).",
        ),
        click.option(
            "--ovs-db",
            metavar="REMOTE",
            help="Database of the local Open vSwitch (default: db.sock beside the control socket).",
        ),
        click.option(
            "-t",
            "--target",
            metavar="SOCKET",
            help=f"Control socket of {PROGRAM} (default: that of the one on this host).",
        ),
    ):
        command = option(command)
    return command


@click.command(name="doctor", short_help="Check every part of this chassis, and say what to do.")
@place_options
@click.pass_obj
def command(
    settings: Settings,
    target: str | None,
    ovs_db: str | None,
    vici: str | None,
    state_dir: Path,
) -> None:
    """Check every part of this chassis, and give a next step for each problem.

    It asks the controller for its name, southbound, policy, IKE daemon, credentials, ESP, guard,
    pairs and problems. Whether or not a controller runs, it looks for itself at units, charon and
    its plugins, the UDP ports of IKE, kernel modules, both layers of the guard, certificate files,
    the clock, the rows of this chassis and its peers (found by ovn-remote in the local Open
    vSwitch), the addresses of this host, ovs-vswitchd, and the MTU of workloads. What is bad comes
    first. Exit status: 0 healthy, 1 degraded, 2 if nothing is wrong but something could not be
    checked.
    """
    checks = find_checks(settings, (target, ovs_db), vici, state_dir)
    if settings.as_json:
        say_json([asdict(check) for check in checks])
    else:
        _show(checks)
    sys.exit(verdict(checks))


def find_checks(
    settings: Settings, sockets: tuple[str | None, str | None], vici: str | None, state_dir: Path
) -> tuple[Check, ...]:
    """Look at everything.

    Args:
        settings: What to authenticate with, where the command line says so.
        sockets: Of the controller and of the local database; None: the usual one.
        vici: Socket of charon; None: the usual one.
        state_dir: Of the controller.
    """
    from .host import look  # noqa: PLC0415 - --help stays quick
    from .hostcheck import examine_host  # noqa: PLC0415
    from .mtucheck import examine_mtu  # noqa: PLC0415
    from .survey import Places, survey  # noqa: PLC0415

    target, ovs_db = sockets
    told, name, runs = _told(target)
    rundir = Path(target).parent if target else own_rundir()
    host = look(settings, name, rundir=rundir, ovs_db=ovs_db)
    if name is None and host.local is not None:
        name = host.local.name
    places = Places(vici=vici, state_dir=state_dir)
    found = (*survey(host, name, places, runs=runs), *examine_host(name, host))
    return (*told, *found, *examine_mtu(name, host))


def _told(target: str | None) -> tuple[tuple[Check, ...], str | None, bool]:
    """What the controller says, the name of the chassis, and whether it answers at all."""
    try:
        socket = target or own_socket()
        status = ask(socket, "status", "json")
        told = examine(status, ask(socket, "guard/show"), ask_peers(socket))
    except EdgeError as error:
        hidden = isinstance(error.__cause__, PermissionError)
        silent = Check(
            part="controller",
            is_well=None if hidden else False,
            said=f"does not answer: {error.diagnostics()}",
            next_step=next_step_after(error),
        )
        return (silent,), None, False
    name = status.get("chassis")
    return told, None if name is None else str(name), True


def _show(checks: tuple[Check, ...]) -> None:
    from ..tables import Screen  # noqa: PLC0415 - --help stays quick
    from .layout import lay_out  # noqa: PLC0415

    screen = Screen()
    for line in lay_out(checks, screen_width()):
        screen.line(line.text, line.style)


def screen_width() -> int | None:
    """Columns of the terminal; None: it is none, and nothing is folded."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
