# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec peers`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from ..clock import local_now
from ..errors import EdgeError
from . import peerview
from .local import PROGRAM, Peer, ask_peers, next_step_after, own_socket
from .output import complain, say_json
from .settings import Exit, Settings

INTERVAL_S = 2.0
NO_MATCH = "no peer has a name like this: {}"


@click.command(
    name="peers", short_help="Show the pairs of this chassis, as its controller has them."
)
@click.option(
    "-t",
    "--target",
    metavar="SOCKET",
    help=f"Control socket of {PROGRAM} (default: that of the one on this host).",
)
@click.option("--problems", is_flag=True, help="Show every problem, and each pair that has one.")
@click.option("--chassis", metavar="GLOB", help="Show only pairs with peers like GLOB, one by one.")
@click.option("--watch", is_flag=True, help="Show them again and again, until interrupted.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=INTERVAL_S,
    show_default=True,
    metavar="SECONDS",
    help="How often --watch asks.",
)
@click.pass_obj
def command(settings: Settings, /, target: str | None, interval: float, **flags: Any) -> None:
    """Show the pairs of this chassis as its controller sees them: counts, then what is wrong.

    It fits on one screen whatever the size of the cluster; --problems and --chassis show more.
    With --chassis, the exit status is that of these pairs. --json prints a list of pairs.
    """
    show = _Show(settings, problems=flags["problems"], glob=flags["chassis"])
    try:
        socket = target or own_socket()
        status = show(ask_peers(socket), again=flags["watch"])
    except EdgeError as error:
        complain(error.diagnostics(), next_step_after(error))
        sys.exit(Exit.CANNOT_TELL)
    sys.exit(_watch(show, socket, interval, status) if flags["watch"] else status)


def _watch(show: _Show, socket: str, interval_s: float, status: Exit) -> Exit:
    """Ask again and again; the exit status is that of the last answer."""
    from .watching import pause  # noqa: PLC0415 - --help stays quick

    try:
        while True:
            pause(interval_s)
            try:
                status = show(ask_peers(socket), again=True)
            except EdgeError as error:
                complain(error.diagnostics())
                status = Exit.CANNOT_TELL
    except KeyboardInterrupt:
        return status


class _Show:
    """Shows pairs as the flags say."""

    def __init__(self, settings: Settings, *, problems: bool, glob: str | None) -> None:
        self._as_json, self._problems, self._glob = settings.as_json, problems, glob

    def __call__(self, pairs: Sequence[Peer], *, again: bool = False) -> Exit:
        """Show them.

        Args:
            pairs: All pairs of this chassis.
            again: Whether they are shown again and again.
        """
        glob = self._glob
        found = list(pairs) if glob is None else peerview.chosen(pairs, glob)
        if glob is not None and not found:
            complain(NO_MATCH.format(glob), "ovn-ipsec peers --chassis '*' shows all")
            return Exit.CANNOT_TELL
        if self._as_json:
            listed = [p for p in found if peerview.is_wrong(p)] if self._problems else found
            say_json(listed, indent=None if again else 2)
        else:
            self._print(found, again=again)
        return peerview.judge_peers(found)

    def _print(self, pairs: Sequence[peerview.Pair], *, again: bool) -> None:
        from .tables import Screen  # noqa: PLC0415 - --help stays quick

        screen = Screen()
        if again:
            screen.clear()
        if self._problems:
            screen.lines(peerview.problems(pairs, screen.width))
        elif self._glob is not None:
            screen.lines(peerview.one_by_one(pairs, screen.width))
        else:
            screen.lines(peerview.first_screen(pairs, screen.width, screen.height - again))
        if again:
            screen.line(f"as of {local_now():%Y-%m-%d %H:%M:%S}; interrupt to end", "dim")
