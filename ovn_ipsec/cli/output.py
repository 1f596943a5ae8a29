# SPDX-License-Identifier: Apache-2.0
"""Edge (the terminal): the only way by which text gets there, whoever wrote it.

Names, problems and keys come from rows that others write. A terminal acts on control characters,
bidirectional overrides reverse text, and rich acts on `[markup]`. So each text is made printable
and cut at the last step, here and in Screen, and not where it is read: nothing in between has to
remember to do it. JSON is written as ASCII, with everything else escaped.
"""

from __future__ import annotations

import json

import click

from ..errors import IPsecError
from ..schema.report import printable

JSON = "--json"
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
    """Print why there is no answer, and what to do about it.

    On standard error; for programs as the one JSON object that they wait for.
    """
    if wants_json():
        say_json(as_json_error(problem, next_step))
        return
    warn(problem)
    if next_step:
        click.echo(f"    next: {shown(next_step)}", err=True)


def complain_of(error: IPsecError) -> None:
    """Print why there is no answer, with what the error itself knows to do about it."""
    complain(error.diagnostics(), getattr(error, "next_step", ""))


def warn(remark: str) -> None:
    """Print on standard error what somebody should know besides the answer."""
    click.echo(f"ovn-ipsec: {shown(remark)}", err=True)


def wants_json() -> bool:
    """Whether the command that runs was given --json."""
    context = click.get_current_context(silent=True)
    if context is None:
        return False
    return bool(context.meta.get(JSON) or getattr(context.obj, "as_json", False))


def as_json_error(problem: str, next_step: str = "") -> dict[str, str]:
    """What --json prints where there is no answer."""
    return {"error": problem} | ({"next_step": next_step} if next_step else {})


def say_json(value: object, *, indent: int | None = 2) -> None:
    """Print for programs."""
    click.echo(json.dumps(value, indent=indent))
