# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec status`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import click

from ..clock import local_now, utc_now
from ..errors import OvsdbError
from ..model.status import PairCounts
from . import overview
from .judge import ChassisLine, Status, judge
from .output import complain, complain_of, say_json
from .settings import Exit, Settings

if TYPE_CHECKING:
    from ..ovsdb.commands import Commands
    from .layout import Line
    from .tables import Screen

OUTDATED = "not connected, so this is what was last seen: {}"
NO_MATCH = "no chassis has a name like this: {}"


@click.command(name="status", short_help="Show the state of the cluster, and what needs attention.")
@click.option("--problems", is_flag=True, help="Show every problem, with all names.")
@click.option("--chassis", metavar="GLOB", help="Show only chassis like GLOB, one by one.")
@click.option("--watch", is_flag=True, help="Show it again after each change, until interrupted.")
@click.pass_obj
def command(settings: Settings, problems: bool, chassis: str | None, watch: bool) -> None:
    """Show the state of the cluster, counts, and what needs attention.

    It fits on one screen whatever the size of the cluster; --problems and --chassis show more.
    With --chassis, the exit status is that of these chassis. --json prints all chassis.
    """
    show = _Show(settings, problems=problems, glob=chassis)
    try:
        with _databases(settings) as (nb, sb):
            exit_status = _watch(show, nb, sb) if watch else show(_look(nb, sb))
    except OvsdbError as error:
        complain_of(error)
        sys.exit(Exit.CANNOT_TELL)
    sys.exit(exit_status)


@contextmanager
def _databases(settings: Settings) -> Iterator[tuple[Commands, Commands]]:
    from ..ovsdb.schemas import (  # noqa: PLC0415 - --help stays quick
        NORTHBOUND_MTUS,
        ONLY_LOCALNET,
        SOUTHBOUND,
    )
    from .database import connected  # noqa: PLC0415

    with (
        connected(settings, settings.ovnnb_db, NORTHBOUND_MTUS, only=ONLY_LOCALNET) as nb,
        connected(settings, settings.ovnsb_db, SOUTHBOUND) as sb,
    ):
        yield nb, sb


def _look(nb: Commands, sb: Commands) -> Status:
    from .database import global_row  # noqa: PLC0415 - --help stays quick
    from .gather import networks, southbound  # noqa: PLC0415

    row = global_row(nb)
    return judge(dict(row.external_ids), row.ipsec, southbound(sb), utc_now(), networks(nb))


def _watch(show: _Show, nb: Commands, sb: Commands) -> Exit:
    """Show it again and again; the exit status is that of the last time."""
    from .watching import looks  # noqa: PLC0415 - --help stays quick

    last = Exit.CANNOT_TELL
    try:
        for status, old_because in looks((nb, sb), lambda: _look(nb, sb)):
            found = show(status, old_because, again=True)
            last = Exit.CANNOT_TELL if old_because else found
    except KeyboardInterrupt:
        pass
    return last


class _Show:
    """Shows a cluster as the flags say."""

    def __init__(self, settings: Settings, *, problems: bool, glob: str | None) -> None:
        self._as_json, self._problems, self._glob = settings.as_json, problems, glob
        self._last: object = None

    def __call__(self, whole: Status, old_because: str = "", *, again: bool = False) -> Exit:
        """Show it.

        Args:
            whole: The cluster.
            old_because: Why there may be news that did not come; empty if there are none.
            again: Whether it is shown whenever it changes: what looks the same is not.
        """
        status = whole if self._glob is None else overview.chosen(whole, self._glob)
        if self._glob is not None and not status.chassis:
            complain(NO_MATCH.format(self._glob), "ovn-ipsec status --chassis '*' shows all")
            return status.exit
        if self._as_json:
            found = as_json(status) | ({"outdated": old_because} if old_because else {})
            if not again or found != self._last:
                say_json(found, indent=None if again else 2)
            self._last = found
            return status.exit
        from .tables import Screen  # noqa: PLC0415 - --help stays quick

        screen = Screen()
        if again:
            screen.clear()
        old = screen.folded(OUTDATED.format(old_because), "bold red") if old_because else []
        screen.lines([*old, *self._lines(status, screen, used=len(old) + again)])
        if again:
            screen.line(f"as of {local_now():%Y-%m-%d %H:%M:%S}; interrupt to end", "dim")
        return status.exit

    def _lines(self, status: Status, screen: Screen, *, used: int) -> list[Line]:
        now, width = local_now(), screen.width
        if self._problems:
            return overview.problems(status, now, width)
        if self._glob is not None:
            return overview.of_chassis(status, now, width)
        return overview.first_screen(status, now, width, screen.height - used)


def as_json(status: Status) -> dict[str, Any]:
    """Turn a status into what `--json` prints: names as in the databases, times in ISO 8601."""
    return {
        "state": status.state,
        "generation": status.generation,
        "summary": status.summary,
        "error": status.error,
        "totals": {
            "chassis": {str(at): n for at, n in overview.standings(status.chassis).items()},
            "pairs": asdict(overview.totals(status.chassis)),
        },
        "chassis": [_chassis_json(line) for line in status.chassis],
        "findings": [asdict(finding) for finding in status.findings],
        "exit": int(status.exit),
    }


def _chassis_json(line: ChassisLine) -> dict[str, Any]:
    digest = line.digest
    if digest is None:
        return {"chassis": line.name, "standing": str(line.standing), "agent": None}
    return {
        "chassis": line.name,
        "standing": str(line.standing),
        "agent": digest.agent,
        "phase": str(digest.phase),
        "generation": digest.generation,
        "pairs": asdict(digest.counts),
        "problem": digest.problem,
        "expires": digest.expires.isoformat() if digest.expires else None,
    }


def words(line: ChassisLine) -> tuple[str, ...]:
    """One row of the table; pair states that no pair is in are left out."""
    digest = line.digest
    if digest is None:
        return (line.name, "none", *[""] * 5)
    counts = {field.name: getattr(digest.counts, field.name) for field in fields(PairCounts)}
    return (
        line.name,
        digest.agent,
        str(digest.phase),
        str(digest.generation),
        " ".join(f"{name} {count}" for name, count in counts.items() if count),
        digest.problem,
        f"{digest.expires:%Y-%m-%d}" if digest.expires else "",
    )
