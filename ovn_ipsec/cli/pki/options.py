# SPDX-License-Identifier: Apache-2.0
"""Shell: what the `ovn-ipsec pki` commands share: their flags, directory and errors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import InputError, IPsecError
from ...pki.values import AUTHORITY_LIFE, CHASSIS_LIFE, KeyKind
from ...schema.fields import Place, duration_s
from ..output import complain_of, say_json
from ..program import Group
from ..settings import Exit, Settings

if TYPE_CHECKING:
    from ...pki.folder import CaFolder
    from ...pki.index import AuthorityEntry

_Option = Callable[[Callable[..., Any]], Callable[..., Any]]

A_PATH = click.Path(path_type=Path)


def _life(default: timedelta, limits: tuple[str, str], words: str) -> _Option:
    """The flag --life, a time within limits."""
    return click.option(
        "--life",
        callback=_parse_life(*limits),
        default=f"{default.days}d",
        show_default=True,
        metavar="TIME",
        help=words,
    )


def _parse_life(low: str, high: str) -> Callable[[click.Context, click.Parameter, str], timedelta]:
    place = Place(table="command", row="line", key="--life")
    low_s, high_s = (duration_s(place, text, 0, 10**10) for text in (low, high))

    def parse(_ctx: click.Context, _param: click.Parameter, text: str) -> timedelta:
        try:
            return timedelta(seconds=duration_s(place, text, low_s, high_s))
        except InputError:
            what = f"expected a time from {low} to {high}, such as 36h or 90d"
            raise click.BadParameter(what) from None

    return parse


@dataclass(frozen=True, slots=True)
class Pki:
    """What the flags in front of the command say."""

    path: Path
    settings: Settings

    @property
    def as_json(self) -> bool:
        """Whether a program reads the answer."""
        return self.settings.as_json

    def with_json(self) -> Pki:
        """The same with --json."""
        return replace(self, settings=self.settings.with_json())

    @property
    def folder(self) -> CaFolder:
        """The folder of the authority."""
        from ...pki.folder import CaFolder  # noqa: PLC0415 - --help stays quick

        return CaFolder(self.path)


class PkiGroup(Group):
    """Says what went wrong, and what to do next, on standard error; ends with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except IPsecError as error:
            complain_of(error)
            sys.exit(Exit.DEGRADED)


key_type = click.option(
    "--key-type",
    type=click.Choice([kind.value for kind in KeyKind]),
    help="Type of the new key (default: that of the authority's key).",
)
life = _life(
    CHASSIS_LIFE,
    ("1h", "3650d"),
    "How long the certificate is valid, such as 90d or 36h; never longer than the authority.",
)
authority_life = _life(AUTHORITY_LIFE, ("1d", "10950d"), "How long the authority is valid.")
out = click.option(
    "--out",
    type=A_PATH,
    metavar="DIR",
    help="Write into DIR (default: issued/CHASSIS in the authority's folder).",
)


def kind(text: str | None) -> KeyKind | None:
    """What --key-type says, if it was given."""
    return KeyKind(text) if text else None


def tell(pki: Pki, facts: Mapping[str, Any], *lines: str) -> None:
    """Print what was done: facts for programs, lines for people."""
    if pki.as_json:
        say_json(facts)
        return
    for line in lines:
        click.echo(line)


def authority_facts(entry: AuthorityEntry) -> dict[str, Any]:
    """Write an authority for programs."""
    return {"name": entry.title, "not_after": entry.not_after.isoformat()}


def authority_line(entry: AuthorityEntry) -> str:
    """Write an authority for people."""
    return f"{entry.title} (valid until {entry.not_after:%Y-%m-%d})"
