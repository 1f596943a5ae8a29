# SPDX-License-Identifier: Apache-2.0
"""Shell: what holds for every command: --json before and after it, -h, and how errors end.

A command line that is wrong ends with 64 (EX_USAGE of sysexits.h), so that nobody takes it for a
verdict. With --json whatever is printed on standard output is JSON, errors too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import takewhile
from typing import Any, TypeVar

import click

from .output import JSON, as_json_error, say_json, warn
from .settings import Exit

HELP_NAMES = {"help_option_names": ["-h", "--help"]}
C = TypeVar("C", bound=click.Command)


def with_json(command: C) -> C:
    """Let a command take --json, once."""
    if not any(JSON in parameter.opts for parameter in command.params):
        option = click.Option(
            [JSON],
            is_flag=True,
            expose_value=False,
            help="Print JSON instead of text.",
            callback=_note,
        )
        command.params.append(option)
    return command


def _note(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and ctx.obj is not None:
        ctx.obj = ctx.obj.with_json()
        ctx.meta[JSON] = True  # for the groups above, which print what their commands raise


class Group(click.Group):
    """Commands that all take --json."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command."""
        found = super().get_command(ctx, cmd_name)
        return None if found is None else with_json(found)


class Program(Group):
    """All commands, and how each of them ends."""

    def main(self, *args: Any, **more: Any) -> Any:
        """Run a command, and end with its exit status."""
        given = args[0] if args else more.pop("args", None)
        words = list(sys.argv[1:] if given is None else given)
        if not more.get("standalone_mode", True):
            return super().main(words, *args[1:], **more)
        try:
            status = super().main(words, *args[1:], **{**more, "standalone_mode": False})
        except click.ClickException as error:
            _show(error, as_json=asks_for_json(words))
            sys.exit(Exit.USAGE if isinstance(error, click.UsageError) else error.exit_code)
        except click.Abort:
            warn("interrupted")
            sys.exit(1)
        sys.exit(status or 0)


def asks_for_json(words: Iterable[str]) -> bool:
    """Whether a command line that may be wrong asks for JSON."""
    return JSON in takewhile(lambda word: word != "--", words)


def _show(error: click.ClickException, *, as_json: bool) -> None:
    """Print why a command line is wrong, and how to write it."""
    if as_json:
        say_json(as_json_error(error.format_message()))
    else:
        error.show()
