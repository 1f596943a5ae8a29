# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec explain`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ..errors import EdgeError
from .output import complain_of, say_json, warn
from .settings import Exit, Settings

if TYPE_CHECKING:
    from .explanation import EndLine, Explanation, LivePeers, PairLine
    from .tables import Screen

COLOURS = {"encrypted": "green", "pending": "yellow", "blocked": "red"}


@click.command(name="explain", short_help="Explain how the pairs of two chassis are treated.")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.option(
    "-t",
    "--target",
    metavar="SOCKET",
    help="Control socket of the controller of A or B (default: that of the one on this host).",
)
@click.pass_obj
def command(settings: Settings, one: str, other: str, target: str | None) -> None:
    """Explain how the pairs of the chassis A and B are treated, and why.

    If something is wrong, it says what to do. If it runs on A or B, it also asks the controller of
    that chassis.
    """
    try:
        found = _explain(settings, (one, other), target)
    except EdgeError as error:
        complain_of(error)
        sys.exit(Exit.CANNOT_TELL)
    say_json(as_json(found)) if settings.as_json else _show(found)
    sys.exit(found.exit)


def _explain(settings: Settings, names: tuple[str, str], target: str | None) -> Explanation:
    from . import gather  # noqa: PLC0415 - --help stays quick
    from .decisions import effective  # noqa: PLC0415
    from .explanation import explain  # noqa: PLC0415
    from .trial import unknown  # noqa: PLC0415

    with gather.northbound(settings) as nb:
        snapshot = gather.snapshot(settings, nb)
    for name in names:
        if message := unknown(snapshot, name):
            raise EdgeError(message)
    seen = gather.with_networks(settings, snapshot, effective(snapshot).named)
    return explain(seen, *names, _live(target), gather.mtus(settings))


def _live(target: str | None) -> LivePeers:
    """What the controller here says; one that was not named may be silent."""
    from .local import live_peers  # noqa: PLC0415 - --help stays quick

    try:
        return live_peers(target)
    except EdgeError as error:
        if target is not None:
            raise
        warn(f"{error.diagnostics()}; only the databases are asked")
        return {}


def as_json(found: Explanation) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "pairs": [_pair_json(line) for line in found.pairs],
        "reason": found.reason,
        "chassis": [dict(zip(CHASSIS, row, strict=True)) for row in chassis_rows(found)],
        "findings": [asdict(finding) for finding in found.findings],
        "exit": int(found.exit),
    }


def _pair_json(line: PairLine) -> dict[str, Any]:
    def treatment(of: Any) -> dict[str, str] | None:
        return None if of is None else {"mode": str(of.mode), "profile": str(of.profile)}

    return {
        "type": line.type,
        "ends": [{**asdict(end), "traits": list(end.traits)} for end in line.ends],
        "decided_by": line.decided_by,
        "wanted": treatment(line.wanted),
        "carried": treatment(line.carried),
        "state": line.state,
        "why": line.why,
        "mtu_left": line.left,
        "mtu_because": line.left_because,
    }


CHASSIS = ("chassis", "agent", "phase", "generation", "pairs", "problem", "expires")


def chassis_rows(found: Explanation) -> list[tuple[str, ...]]:
    """What each controller reports, in the words of `ovn-ipsec status`."""
    from .judge import ChassisLine  # noqa: PLC0415
    from .status import words  # noqa: PLC0415

    return [words(ChassisLine(name=view.name, digest=view.digest)) for view in found.chassis]


def _show(found: Explanation) -> None:
    from .tables import Screen  # noqa: PLC0415 - --help stays quick

    screen = Screen()
    if found.reason:
        screen.line(f"no pairs: {found.reason}")
    for line in found.pairs:
        _show_pair(screen, line)
    if found.pairs:
        screen.table(CHASSIS, chassis_rows(found))
    for finding in found.findings:
        screen.line(f"{finding.subject}: {finding.problem}", "yellow")
        screen.line(f"    next: {finding.next_step}")


def _show_pair(screen: Screen, line: PairLine) -> None:
    from .decisions import words  # noqa: PLC0415

    one, other = line.ends
    screen.line(f"{one.chassis} {one.ip} - {other.chassis} {other.ip} ({line.type})", "bold")
    screen.line(f"  now         {line.state}: {line.why}", COLOURS.get(line.state, ""))
    screen.line(f"  decided by  {line.decided_by}")
    screen.line(f"  rules say   {words(line.wanted)}")
    screen.line(f"  SB carries  {'nothing' if line.carried is None else words(line.carried)}")
    screen.line(f"  MTU         {_mtu(line)}")
    for end in line.ends:
        screen.line(f"  {end.chassis:<10}  {_end(end)}")


def _mtu(line: PairLine) -> str:
    if line.left is None:
        return f"not known: {line.left_because}"
    return f"{line.left} is left to workloads: {line.left_because}"


def _end(end: EndLine) -> str:
    said = f"Encap row says {end.mode or 'nothing'}"
    if end.class_name:
        said += f", class {end.class_name}"
    hosted = {trait.removeprefix("hosts ") for trait in end.traits}
    matched = [t for t in end.traits if t.removeprefix("reaches ") not in hosted - {t}]
    return f"{said}; matches {', '.join(matched) or 'no selector'}"
