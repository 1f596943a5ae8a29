# SPDX-License-Identifier: Apache-2.0
"""Edge (the screen): tables and lines for people; colour only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from . import layout
from .layout import Line
from .output import CELL_MAX, LINE_MAX, shown

LOWEST = 24
"""Lines of the smallest terminal that anybody has."""


class Screen:
    """Standard output; whatever is printed goes through ``output.shown``."""

    def __init__(self) -> None:
        """Look at whether it is a terminal."""
        self._is_terminal = sys.stdout.isatty()
        self._console = Console(highlight=False, width=None if self._is_terminal else LINE_MAX)

    @property
    def width(self) -> int | None:
        """Characters of a line; None in a pipe, where nothing is folded."""
        return self._console.width if self._is_terminal else None

    @property
    def height(self) -> int:
        """Lines that fit, and leave one for the prompt."""
        return max(LOWEST, self._console.height if self._is_terminal else 0) - 1

    def clear(self) -> None:
        """Empty it, if it is a terminal."""
        if self._is_terminal:
            self._console.clear()

    def line(self, text: str, style: str = "") -> None:
        """Print one text, folded between words; what looks like markup is printed as it is."""
        self.lines(self.folded(text, style))

    def folded(self, text: str, style: str = "") -> list[Line]:
        """Lay one text out, folded between words."""
        kept = shown(text)
        indent = " " * (len(kept) - len(kept.lstrip()) + 4)
        return layout.folded(kept, self.width, indent=indent, style=style)

    def lines(self, lines: Iterable[Line]) -> None:
        """Print lines that are laid out already."""
        for text, style in lines:
            self._console.print(Text(shown(text), style=style), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table; columns that are empty everywhere are left out."""
        heads = [shown(column, CELL_MAX) for column in columns]
        kept = [[shown(cell, CELL_MAX) for cell in row] for row in rows]
        self.lines(layout.table(heads, kept, self.width))
