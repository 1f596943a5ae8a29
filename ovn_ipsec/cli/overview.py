# SPDX-License-Identifier: Apache-2.0
"""Pure: what `ovn-ipsec status` shows: state, counts, and what needs somebody.

The first screen has the same size whatever the size of the cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from ..model.policy import CLOCK_MAX_MS
from ..model.status import PairCounts
from .finding import Level
from .groups import as_many_as_fit, grouped, heading, told
from .judge import SETTLED, ChassisLine, Standing, Status
from .layout import Line, folded, height, table
from .settings import Exit
from .wording import ago, day, first_names, plural

WIDTH = 14
"""Of the words before the counts."""
FEW = 10
"""Chassis that are listed one by one, where there is room for them."""
SEE_ALL = "ovn-ipsec status --problems"
SEE_EACH = "one by one: ovn-ipsec status --chassis '*'"
COLUMNS = ("chassis", "state", "pairs", "certificate ends", "controller")
PROGRAM = "ovn-ipsec-controller "
COLOURS = {Exit.WELL: "bold green", Exit.DEGRADED: "bold yellow", Exit.CANNOT_TELL: "bold red"}
STYLES = {
    Standing.BEHIND: "yellow",
    Standing.ABSENT: "yellow",
    Standing.UNREADABLE: "yellow",
    Standing.NOT_NEEDED: "dim",
    Standing.QUARANTINED: "dim",
}
_WORDS = {
    Standing.READY: "ready",
    Standing.BEHIND: "behind",
    Standing.ABSENT: "without a controller",
    Standing.UNREADABLE: "with an unreadable report",
    Standing.NOT_NEEDED: "that no rule asks for",
    Standing.NO_ROW: "without a Chassis row",
    Standing.QUARANTINED: "in quarantine",
}
_OFF_WORDS = {
    **_WORDS,
    Standing.READY: "with a controller",
    Standing.NOT_NEEDED: "without a controller",
}
_OLDEST_MS = 1_577_836_800_000
"""The year 2020: a generation from before is a number and no time."""


def chosen(status: Status, glob: str) -> Status:
    """The same cluster with only those chassis that match, and only their problems.

    Args:
        status: Of all chassis.
        glob: As for a shell, such as `hv1*`.
    """
    lines = tuple(line for line in status.chassis if fnmatchcase(line.name, glob))
    names = {line.name for line in lines}
    findings = tuple(one for one in status.findings if one.subject in names)
    bad = any(one.level is Level.PROBLEM for one in findings)
    unknown = status.exit is Exit.CANNOT_TELL or not lines
    return replace(
        status,
        chassis=lines,
        findings=findings,
        exit=Exit.CANNOT_TELL if unknown else Exit.DEGRADED if bad else Exit.WELL,
    )


def headline(status: Status) -> Line:
    """The state in one line; one that sounds well says so where not all is."""
    doubt = status.state in SETTLED and status.exit is not Exit.WELL
    text = f"{status.state}{', but not all is well' if doubt else ''}"
    return Line(text, COLOURS[status.exit])


def first_screen(status: Status, now: datetime, width: int | None, lines: int) -> list[Line]:
    """What fits on one screen.

    Args:
        status: The cluster.
        now: In the time zone of the reader.
        width: Of the screen.
        lines: Of the screen.
    """
    groups = grouped(status.findings)
    shown = [headline(status), *_counts(status, now, width)]
    few = _table(status.chassis, now, width) if len(status.chassis) <= FEW else []
    bad = [Line(""), Line(heading(groups), "bold")] if groups else []
    room = lines - height([*shown, *bad], width)
    if few and height([*few, *told(groups, width)], width) + 1 <= room:
        shown += [Line(""), *few]
        room -= height(few, width) + 1
    elif status.chassis and not groups:
        shown.append(Line(SEE_EACH, "dim"))
    return [*shown, *bad, *(as_many_as_fit(groups, width, room, SEE_ALL) if groups else [])]


def problems(status: Status, now: datetime, width: int | None) -> list[Line]:
    """Every problem with all names."""
    return [headline(status), *_counts(status, now, width), *_all(status, width)]


def of_chassis(status: Status, now: datetime, width: int | None) -> list[Line]:
    """Every chassis, and its problems."""
    return [*_table(status.chassis, now, width), *_all(status, width)]


def _all(status: Status, width: int | None) -> Iterator[Line]:
    groups = grouped(status.findings)
    yield Line("")
    yield Line(heading(groups) or "no problems", "bold" if groups else "green")
    yield from told(groups, width)


def totals(chassis: Iterable[ChassisLine]) -> PairCounts:
    """The pairs of all chassis by state; one between two controllers counts at both ends."""
    counts: Counter[str] = Counter()
    for line in chassis:
        if line.digest is not None:
            for field in fields(PairCounts):
                counts[field.name] += getattr(line.digest.counts, field.name)
    return PairCounts(**counts)


def standings(chassis: Iterable[ChassisLine]) -> dict[Standing, int]:
    """How many chassis stand how to the policy."""
    counts = Counter(line.standing for line in chassis)
    return {standing: counts[standing] for standing in Standing}


def _counts(status: Status, now: datetime, width: int | None) -> Iterator[Line]:
    rows: list[tuple[str, str]] = []
    if status.generation.strip("0"):
        rows.append(("generation", f"{status.generation}{_made(status.generation, now)}"))
    words = _OFF_WORDS if status.state == "off" else _WORDS
    found = [f"{n} {words[at]}" for at, n in standings(status.chassis).items() if n]
    rows.append(("chassis", f"{len(status.chassis)}: {', '.join(found)}" if found else "none"))
    if any(line.digest is not None for line in status.chassis):
        rows.append(("pairs", _pairs(totals(status.chassis))))
    if (ends := _first_end(status.chassis, now)) and status.state != "off":
        rows.append(("certificates", ends))
    for head, text in rows:
        yield from folded(f"{head:<{WIDTH}}{text}", width, indent=" " * WIDTH)


def _made(generation: str, now: datetime) -> str:
    """When a generation was made, if it tells."""
    if not generation.isdecimal() or not _OLDEST_MS <= int(generation) <= CLOCK_MAX_MS:
        return ""
    made = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(generation))
    return f", made {ago(made, now)}" if made <= now else ""


def _pairs(counts: PairCounts) -> str:
    others = {field.name: getattr(counts, field.name) for field in fields(PairCounts)}
    del others["encrypted"]
    text = f"{counts.encrypted} of {counts.wanted} encrypted (counted at both ends)"
    rest = [f"{number} {name}" for name, number in others.items() if number]
    return ", ".join([text if counts.wanted else "none to be encrypted", *rest])


def _first_end(chassis: Iterable[ChassisLine], now: datetime) -> str:
    ends = {line.name: line.digest.expires for line in chassis if line.digest}
    known = {name: at for name, at in ends.items() if at is not None}
    if not known:
        return ""
    first = min(known.values())
    names = [name for name, at in known.items() if at == first]
    verb = "ends" if first > now else "has ended"
    return f"the first {verb} {day(first, now)}, {ago(first, now)}: {first_names(names, 30)}"


def _table(chassis: Iterable[ChassisLine], now: datetime, width: int | None) -> list[Line]:
    shown = list(chassis)
    styles = [STYLES.get(line.standing, "") for line in shown]
    return table(COLUMNS, [_row(line, now) for line in shown], width, styles)


def _row(line: ChassisLine, now: datetime) -> tuple[str, ...]:
    digest = line.digest
    if digest is None:
        return (line.name, str(line.standing), "", "", "")
    counts = {field.name: getattr(digest.counts, field.name) for field in fields(PairCounts)}
    return (
        line.name,
        str(line.standing),
        ", ".join(f"{n} {name}" for name, n in counts.items() if n) or plural(0, "pair"),
        day(digest.expires, now) if digest.expires else "",
        digest.agent.removeprefix(PROGRAM),
    )
