# SPDX-License-Identifier: Apache-2.0
"""Pure: checks to lines for a screen: what is bad first, what nobody can tell, and what is well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...schema.report import printable
from ..layout import Line, folded
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
    yield Line(", ".join(counts) or "nothing was looked at", COLOURS[worst])
    parts = max((len(one.part) for one in found), default=0)
    for _, group in groups:
        for number, check in enumerate(group):
            if number == 0:
                yield Line("")
            yield from _check(check, parts, width)


def _check(check: Check, parts: int, width: int | None) -> Iterator[Line]:
    head = f"{WORDS[check.is_well].ljust(GAP)}{check.part.ljust(parts)}  "
    yield from _beside(head, check.said, width, COLOURS[check.is_well])
    if check.next_step:
        yield from _beside(f"{' ' * GAP}next: ", check.next_step, width)


def _beside(head: str, text: str, width: int | None, style: str = "") -> Iterator[Line]:
    """A text behind a head; what goes on below stands under the text."""
    room = None if width is None else max(TEXT_MIN, width - len(head))
    first, *rest = folded(printable(text, TEXT_MAX), room, style=style)
    yield Line(f"{head}{first.text}".rstrip(), style)
    for line in rest:
        yield Line(f"{' ' * len(head)}{line.text}", style)
