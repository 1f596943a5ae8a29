# SPDX-License-Identifier: Apache-2.0
"""Pure: checks to lines for a screen: what is bad first, what nobody can tell, and what is well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from textwrap import wrap

from ...schema.report import printable
from .checkup import Check

WORDS = {False: "BAD", None: "???", True: "ok"}
"""In the order in which they are shown."""
COLOURS = {False: "bold red", None: "yellow", True: "green"}
COUNTED = {False: "bad", None: "unknown", True: "ok"}
GAP = 6
"""Columns of the word and the space behind it."""
TEXT_MIN = 20
"""Columns that a text has, however narrow the screen is."""
TEXT_MAX = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line and how it is coloured."""

    text: str
    style: str = ""


def lay_out(checks: Iterable[Check], width: int | None) -> Iterator[Line]:
    """Lay checks out.

    Args:
        checks: In the order in which one thing needs the other; it is kept within a verdict.
        width: Columns of the screen, at least 40; None: nothing is folded.

    Returns:
        A line that counts, and a group for each verdict.
    """
    found = list(checks)
    groups = [(is_well, [one for one in found if one.is_well is is_well]) for is_well in WORDS]
    counts = [f"{len(group)} {COUNTED[is_well]}" for is_well, group in groups if group]
    worst = next((is_well for is_well, group in groups if group), None)
    yield Line(text=", ".join(counts) or "nothing was looked at", style=COLOURS[worst])
    parts = max((len(one.part) for one in found), default=0)
    for _, group in groups:
        for number, check in enumerate(group):
            if number == 0:
                yield Line(text="")
            yield from _check(check, parts, width)


def _check(check: Check, parts: int, width: int | None) -> Iterator[Line]:
    head = f"{WORDS[check.is_well].ljust(GAP)}{check.part.ljust(parts)}  "
    first, *rest = _folded(check.said, len(head), width)
    yield Line(text=f"{head}{first}".rstrip(), style=COLOURS[check.is_well])
    for text in rest:
        yield Line(text=f"{' ' * len(head)}{text}", style=COLOURS[check.is_well])
    if check.next_step:
        first, *rest = _folded(f"next: {check.next_step}", GAP, width)
        yield Line(text=f"{' ' * GAP}{first}")
        for text in rest:
            yield Line(text=f"{' ' * (GAP + len('next: '))}{text}")


def _folded(text: str, indent: int, width: int | None) -> list[str]:
    clean = printable(text, TEXT_MAX)
    if width is None:
        return [clean]
    room = max(TEXT_MIN, width - indent)
    first, *more = wrap(clean, room, break_on_hyphens=False) or [""]
    if not more or not clean.startswith("next: "):
        return [first, *more]
    # What goes on below a next step stands under its text.
    rest = clean.removeprefix(first).strip()
    return [first, *wrap(rest, max(TEXT_MIN, room - len("next: ")), break_on_hyphens=False)]
