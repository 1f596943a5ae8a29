# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec policy`: list, check, compare, try out, add and delete rules."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, BinaryIO, ParamSpec

import click

from ...errors import EdgeError, OvsdbConflict
from ..output import complain, complain_of, say
from ..program import Group
from ..settings import Exit, Settings

if TYPE_CHECKING:
    from ..view import Snapshot
    from .change import Decide
    from .rulefile import RuleFile

P = ParamSpec("P")
PRIORITY = click.IntRange(1, 32767)
CHANGED = "others kept changing NB_Global.options, so nothing was written; try again"


def ends_with(command: Callable[P, Exit]) -> Callable[P, None]:
    """Turn what a command returns into the exit status, and no answer into 2."""

    @wraps(command)
    def exiting(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            status = command(*args, **kwargs)
        except OvsdbConflict:
            complain(CHANGED)
            status = Exit.DEGRADED
        except EdgeError as error:
            complain_of(error)
            status = Exit.CANNOT_TELL
        sys.exit(status)

    return exiting


def _cluster(settings: Settings) -> Snapshot:
    """Both databases, read."""
    from .. import gather  # noqa: PLC0415 - --help stays quick

    with gather.northbound(settings) as nb:
        return gather.snapshot(settings, nb)


def _file(source: BinaryIO) -> RuleFile:
    from .rulefile import parse_file  # noqa: PLC0415

    return parse_file(source.read().decode(errors="surrogateescape"))


@click.group(
    cls=Group, name="policy", short_help="See and change the rules that say what is encrypted."
)
def command() -> None:
    """See and change the rules that decide which pairs of chassis are encrypted.

    A rule is SELECTOR SELECTOR MODE [profile=NAME]. It applies to tunnels between what one selector
    matches and what the other matches. If several rules match, the highest priority decides; if
    none does, NB_Global options:ovn-ipsec-mode.

    \b
    selectors  any, chassis:GLOB, host:GLOB, zone:NAME, az:NAME, cidr:PREFIX,
               network:NAME; remote: before one of any, chassis:, host:, cidr: for
               gateways of other availability zones, which no other selector matches
    modes      off      not encrypted
               prefer   encrypted if both ends can, clear until then
               require  encrypted or dropped
    profiles   default, chacha20, aes256-sha256, cnsa, pq

    Example: ovn-ipsec policy add zone:dc1 zone:dc2 require profile=cnsa
    """  # noqa: D301 - click keeps the lines behind a backspace


@command.command(name="list")
@click.pass_obj
@ends_with
def list_command(settings: Settings) -> Exit:
    """Show the rules, how many pairs each of them decides, and what is in force.

    Exit status: 0 if everything that is asked for is in force, 1 if not (yet), 2 if unknown.
    """
    from ..decisions import asked  # noqa: PLC0415 - --help stays quick
    from ..gather import with_networks  # noqa: PLC0415
    from .listing import make_listing  # noqa: PLC0415
    from .show import show_listing  # noqa: PLC0415

    snapshot = _cluster(settings)
    seen = with_networks(settings, snapshot, asked(snapshot).named)
    listing = make_listing(seen)
    show_listing(listing, as_json=settings.as_json)
    return listing.exit


@command.command(name="add")
@click.argument("words", metavar="RULE...", nargs=-1, required=True)
@click.option(
    "--priority", type=PRIORITY, metavar="N", help="If several rules match, the highest decides."
)
@click.option("--replace", is_flag=True, help="Replace the rule that has this priority.")
@click.option("--dry-run", is_flag=True, help="Show what would change, but write nothing.")
@click.pass_obj
@ends_with
def add_command(
    settings: Settings, words: tuple[str, ...], priority: int | None, replace: bool, dry_run: bool
) -> Exit:
    """Add a rule after checking it, and show which pairs it changes.

    RULE is as in ovn-ipsec policy -h, such as zone:dc1 zone:dc2 require profile=cnsa. Quote what
    the shell would change: 'chassis:lab-*'. Nothing is written if the rule is wrong, or if it would
    not be put into force.

    Without --priority, it gets the next multiple of 100 above the highest priority in use.
    """
    from ...schema.rules import RuleError, parse_rule  # noqa: PLC0415 - --help stays quick
    from .editing import decide_to_add, place_of  # noqa: PLC0415
    from .show import refuse  # noqa: PLC0415

    if replace and priority is None:
        raise click.UsageError("--replace needs --priority")
    text = " ".join(words)
    try:
        parse_rule(place_of(priority), priority or 1, text)
    except RuleError as error:
        return refuse([error], as_json=settings.as_json)
    decide = partial(decide_to_add, text=text, priority=priority, replace=replace)
    return _change(settings, decide, dry_run=dry_run)


@command.command(name="delete")
@click.argument("priority", type=PRIORITY)
@click.option("--dry-run", is_flag=True, help="Show what would change, but write nothing.")
@click.pass_obj
@ends_with
def delete_command(settings: Settings, priority: int, dry_run: bool) -> Exit:
    """Delete the rule that has PRIORITY, and show which pairs that changes."""
    from .editing import decide_to_delete  # noqa: PLC0415 - --help stays quick

    return _change(settings, partial(decide_to_delete, priority=priority), dry_run=dry_run)


def _change(settings: Settings, decide: Decide, *, dry_run: bool) -> Exit:
    """Change rules, and say what that does or what speaks against it."""
    from .change import change_rules  # noqa: PLC0415 - --help stays quick
    from .show import refuse, show_change  # noqa: PLC0415

    found = change_rules(settings, decide, dry_run=dry_run)
    if isinstance(found, str):
        return refuse([found], as_json=settings.as_json)
    written, refused = found.written, bool(found.assessment.refusals)
    show_change(found.changes, found.assessment, as_json=settings.as_json, written=written)
    if not settings.as_json and not refused:
        say("written" if written else "nothing was written")
    return Exit.DEGRADED if refused else Exit.WELL


@command.command(name="check")
@click.argument("file", type=click.File("rb"))
@click.pass_obj
@ends_with
def check_command(settings: Settings, file: BinaryIO) -> Exit:
    """Check a file of rules, and show every error in it; needs no database.

    FILE has one rule a line, PRIORITY RULE, such as 100 zone:dc1 zone:dc2 require. Empty lines and
    lines that begin with # are ignored. If FILE is -, standard input is read.
    """
    from ..decisions import shadowed  # noqa: PLC0415 - --help stays quick
    from .show import show_check  # noqa: PLC0415

    found = _file(file)
    show_check(found, shadowed(found.rules), as_json=settings.as_json)
    return Exit.DEGRADED if found.faults else Exit.WELL


@command.command(name="diff")
@click.argument("file", type=click.File("rb"))
@click.pass_obj
@ends_with
def diff_command(settings: Settings, file: BinaryIO) -> Exit:
    """Show what would change if FILE replaced all rules; writes nothing.

    FILE is as for ovn-ipsec policy check.
    """
    from ...schema.rules import RuleError  # noqa: PLC0415 - --help stays quick
    from ..decisions import missing  # noqa: PLC0415
    from .change import proposal  # noqa: PLC0415
    from .editing import assess, to_replace  # noqa: PLC0415
    from .show import show_check, show_difference  # noqa: PLC0415

    found = _file(file)
    if found.faults:
        show_check(found, {}, as_json=settings.as_json)
        return Exit.DEGRADED
    snapshot = _cluster(settings)
    proposed = proposal(settings, snapshot, to_replace(snapshot.options, found.rules))
    faults = [
        found.fault(error, rule.priority)
        for rule in found.rules
        for error in missing(proposed.then, [rule])
        if isinstance(error, RuleError)
    ]
    assessment = assess(proposed)
    show_difference(assessment, faults, as_json=settings.as_json)
    return Exit.DEGRADED if assessment.refusals else Exit.WELL


@command.command(name="test")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.pass_obj
@ends_with
def test_command(settings: Settings, one: str, other: str) -> Exit:
    """Show which rule decides each pair of the chassis A and B, in force or not."""
    from ..decisions import asked  # noqa: PLC0415 - --help stays quick
    from ..gather import with_networks  # noqa: PLC0415
    from ..trial import try_pairs, unknown  # noqa: PLC0415
    from .show import show_test  # noqa: PLC0415

    snapshot = _cluster(settings)
    for name in (one, other):
        if message := unknown(snapshot, name):
            complain(message)
            return Exit.CANNOT_TELL
    seen = with_networks(settings, snapshot, asked(snapshot).named)
    show_test(try_pairs(seen, one, other), as_json=settings.as_json)
    return Exit.WELL
