# SPDX-License-Identifier: Apache-2.0
"""Pure: text in a width: lines and tables in which no word, name or address is ever broken.

A width of None is that of a pipe: there, lines are as long as they are, and one thing is one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import NamedTuple

GAP = 2
"""Blanks between the columns of a table."""
NARROWEST = 16
"""Characters that the last column of a table is left at least, where its text is longer."""


class Line(NamedTuple):
    """A line, and how it looks on a terminal that has colours."""

    text: str
    style: str = ""


def folded(
    text: str, width: int | None, *, indent: str = "", style: str = "", limit: int = 0
) -> list[Line]:
    """A text as lines that break between words.

    Args:
        text: One line, however long.
        width: Of the screen; a word that is longer than that stays whole.
        indent: Before every line but the first.
        style: Of the lines.
        limit: How many lines at most, the last ending in dots where text is left out; 0: any.
    """
    if width is None:
        return [Line(text, style)]
    lines = wrap(
        text,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
    if limit and len(lines) > limit:
        lines = lines[:limit]
        while len(lines[-1]) + 4 > width and " " in lines[-1].strip():
            lines[-1] = lines[-1].rpartition(" ")[0]
        lines[-1] += " ..."
    return [Line(line, style) for line in lines]


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    width: int | None,
    styles: Sequence[str] = (),
) -> list[Line]:
    """A table; columns that are empty everywhere are left out.

    Text of the last column may go on below itself. What is too wide even so is told row by row,
    each with its first column as a heading.

    Args:
        columns: Headings.
        rows: As many texts each.
        width: Of the screen.
        styles: Of the rows; none: plain.
    """
    kept = list(rows)
    filled = [i for i in range(len(columns)) if any(row[i] for row in kept)]
    if not filled:
        return []
    cells = [[row[i] for i in filled] for row in kept]
    heads = [columns[i] for i in filled]
    looks = list(styles) or [""] * len(cells)
    flat = _flat(heads, cells, width, looks)
    return _stacked(heads, cells, width, looks) if flat is None else flat


def height(lines: Iterable[Line], width: int | None) -> int:
    """How many lines of the screen these take: a word that is too long goes on below."""
    if width is None:
        return sum(1 for _ in lines)
    return sum(max(1, -(-len(line.text) // width)) for line in lines)


def _widths(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(row[i]) for row in (heads, *cells)) for i in range(len(heads))]


def _flat(
    heads: Sequence[str], cells: list[list[str]], width: int | None, styles: list[str]
) -> list[Line] | None:
    """One row below the other; None where that does not fit."""
    widths = _widths(heads, cells)
    left = sum(widths[:-1]) + GAP * (len(heads) - 1)
    room = widths[-1] if width is None else width - left
    words = max((len(word) for row in cells for word in row[-1].split()), default=0)
    if room < min(widths[-1], max(NARROWEST, words, len(heads[-1]))):
        return None
    lines: list[Line] = []
    for row, style in zip([heads, *cells], ["bold", *styles], strict=True):
        last = [line.text for line in folded(row[-1], None if width is None else room)]
        start = "".join(f"{row[i]:<{widths[i] + GAP}}" for i in range(len(heads) - 1))
        lines.append(Line(f"{start}{last[0]}".rstrip(), style))
        lines.extend(Line(f"{' ' * left}{text}", style) for text in last[1:])
    return lines


def _stacked(
    heads: Sequence[str], cells: list[list[str]], width: int | None, styles: list[str]
) -> list[Line]:
    """Each row as a heading with what is said of it below."""
    lines: list[Line] = []
    for row, style in zip(cells, styles, strict=True):
        lines.append(Line(row[0], style or "bold"))
        said = [f"{h} {text}" for h, text in zip(heads[1:], row[1:], strict=True) if text]
        for text in _packed(said, width):
            lines.extend(folded(f"  {text}", width, indent="    ", style=style))
    return lines


def _packed(texts: Sequence[str], width: int | None) -> Iterator[str]:
    """Put texts beside each other as far as there is room; one alone may be too long."""
    line = ""
    for index, text in enumerate(texts):
        piece = text if index == len(texts) - 1 else f"{text},"
        if line and width is not None and 2 + len(line) + 1 + len(piece) > width:
            yield line
            line = ""
        line = f"{line} {piece}" if line else piece
    if line:
        yield line
