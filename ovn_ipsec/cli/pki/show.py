# SPDX-License-Identifier: Apache-2.0
"""Shell: prints `ovn-ipsec pki status`, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..settings import Exit
from .options import authority_line

if TYPE_CHECKING:
    from ...pki.index import AuthorityEntry
    from ...pki.report import Line, Report

COLUMNS = ("chassis", "serial", "not after", "days left", "state", "authority", "key made")


def as_document(trusted: tuple[AuthorityEntry, ...], report: Report, code: Exit) -> dict[str, Any]:
    """Turn a report into what `--json` prints: times in ISO 8601."""
    return {
        "authorities": [
            {
                "number": entry.number,
                "name": entry.title,
                "role": str(entry.role),
                "not_after": entry.not_after.isoformat(),
            }
            for entry in trusted
        ],
        "rollover": asdict(report.rollover),
        "certificates": [_line_json(line) for line in report.lines],
        "findings": [asdict(trouble) for trouble in report.troubles],
        "exit": int(code),
    }


def _line_json(line: Line) -> dict[str, Any]:
    from ...pki.index import format_serial  # noqa: PLC0415 - --help stays quick

    return {
        "chassis": line.entry.chassis,
        "serial": format_serial(line.entry.serial),
        "not_before": line.entry.not_before.isoformat(),
        "not_after": line.entry.not_after.isoformat(),
        "days_left": line.left.days,
        "state": str(line.state),
        "authority": line.entry.authority,
        "key_made": str(line.entry.origin),
    }


def _words(line: Line) -> tuple[str, ...]:
    from ...pki.index import Origin, format_serial  # noqa: PLC0415 - --help stays quick
    from ...pki.report import remaining  # noqa: PLC0415

    entry = line.entry
    return (
        entry.chassis,
        format_serial(entry.serial),
        f"{entry.not_after:%Y-%m-%d %H:%M}",
        remaining(line.left),
        str(line.state),
        f"G{entry.authority}",
        "here" if entry.origin is Origin.ISSUE else "on the chassis",
    )


def show(trusted: tuple[AuthorityEntry, ...], report: Report) -> None:
    """Print a report for people."""
    from ..tables import Screen  # noqa: PLC0415 - --help stays quick

    screen = Screen()
    for entry in trusted:
        screen.line(
            f"{entry.role}: {authority_line(entry)}", "green" if not report.troubles else ""
        )
    if report.lines:
        screen.table(COLUMNS, [_words(line) for line in report.lines])
    else:
        screen.line("no certificates yet")
    rollover = report.rollover
    if rollover.next_step:
        left = f", {len(rollover.laggards)} chassis to renew" if rollover.laggards else ""
        screen.line(f"rollover: {rollover.stage}{left}")
        screen.line(f"    next: {rollover.next_step}")
    for trouble in report.troubles:
        screen.line(f"{trouble.subject}: {trouble.problem}", "yellow")
        screen.line(f"    next: {trouble.next_step}")
