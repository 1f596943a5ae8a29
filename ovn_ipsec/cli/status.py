# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec status`."""

from __future__ import annotations

import sys
from dataclasses import asdict, fields
from typing import Any

import click

from ..clock import utc_now
from ..errors import OvsdbError
from ..model.status import PairCounts
from .finding import Level
from .judge import SETTLED, ChassisLine, Status, judge
from .output import complain, say_json
from .settings import Exit, Settings

COLOURS = {Level.WARNING: "yellow", Level.URGENT: "bold red", Level.PROBLEM: "yellow"}
COLUMNS = ("chassis", "agent", "phase", "generation", "pairs", "problem", "expires")


@click.command(name="status")
@click.pass_obj
def command(settings: Settings) -> None:
    """Show the state of the cluster and of every chassis, with a next step for each problem."""
    try:
        status = _read(settings)
    except OvsdbError as error:
        complain(error.diagnostics())
        sys.exit(Exit.CANNOT_TELL)
    say_json(as_json(status)) if settings.as_json else _show(status)
    sys.exit(status.exit)


def _read(settings: Settings) -> Status:
    from ..ovsdb.schemas import SOUTHBOUND  # noqa: PLC0415 - --help stays quick
    from .database import STATE, connected, global_row  # noqa: PLC0415
    from .gather import southbound  # noqa: PLC0415

    with connected(settings, settings.ovnnb_db, STATE) as nb:
        found = global_row(nb)
        ipsec, external_ids = found.ipsec, dict(found.external_ids)
    with connected(settings, settings.ovnsb_db, SOUTHBOUND) as sb:
        return judge(external_ids, ipsec, southbound(sb), utc_now())


def as_json(status: Status) -> dict[str, Any]:
    """Turn a status into what `--json` prints: names as in the databases, times in ISO 8601."""
    return {
        "state": status.state,
        "generation": status.generation,
        "summary": status.summary,
        "error": status.error,
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


def headline(status: Status) -> str:
    """The state in one line; one that sounds well says so where not all is."""
    generation = f", generation {status.generation}" if status.generation else ""
    doubt = status.state in SETTLED and status.exit is not Exit.WELL
    return f"{status.state}{generation}{', but not all is well' if doubt else ''}"


def _show(status: Status) -> None:
    from .tables import Screen  # noqa: PLC0415 - --help stays quick

    screen = Screen()
    colour = {Exit.WELL: "green", Exit.DEGRADED: "yellow", Exit.CANNOT_TELL: "red"}[status.exit]
    screen.line(headline(status), colour)
    if status.summary:
        screen.line(status.summary)
    if status.chassis:
        screen.table(COLUMNS, [words(line) for line in status.chassis])
    for finding in status.findings:
        screen.line(f"{finding.subject}: {finding.problem}", COLOURS[finding.level])
        screen.line(f"    next: {finding.next_step}")
