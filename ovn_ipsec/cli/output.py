# SPDX-License-Identifier: Apache-2.0
"""Edge (the terminal): the one way by which text gets there, whoever wrote it.

Names, problems and keys come from rows that others write. A terminal acts on control characters,
turns text around for bidirectional overrides, and rich acts on `[markup]`. So each text is made
printable and cut at the last step, here and in Screen, and not where it is read: nothing between
has to remember it. JSON goes out as ASCII, with everything else escaped.
"""

from __future__ import annotations

import json

import click

from ..schema.report import printable

LINE_MAX, CELL_MAX = 4000, 600
"""Characters of a line, and of a cell of a table."""


def shown(text: str, limit: int = LINE_MAX) -> str:
    """Text fit for a terminal: one line of printable characters, with dots where it is cut.

    Args:
        text: Of anybody.
        limit: Characters, at least 3.
    """
    kept = printable(text, limit + 1)
    return kept if len(kept) <= limit else f"{kept[: limit - 3]}..."


def say(text: str) -> None:
    """Print one line."""
    click.echo(shown(text))


def complain(problem: str, next_step: str = "") -> None:
    """Print on standard error why there is no answer, and what to do about it."""
    click.echo(f"ovn-ipsec: {shown(problem)}", err=True)
    if next_step:
        click.echo(f"    next: {shown(next_step)}", err=True)


def say_json(value: object, *, indent: int | None = 2) -> None:
    """Print for programs."""
    click.echo(json.dumps(value, indent=indent))
