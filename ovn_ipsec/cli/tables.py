# SPDX-License-Identifier: Apache-2.0
"""Edge (the screen): tables and lines for people; colour only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .output import CELL_MAX, shown

PIPE_WIDTH = 240
"""Into a pipe nothing is folded to the width of a screen that is not there."""


class Screen:
    """Standard output; whatever is printed goes through ``output.shown``."""

    def __init__(self) -> None:
        """Look at whether it is a terminal."""
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        self._console = Console(highlight=False, width=width)

    def line(self, text: str, style: str = "") -> None:
        """Print one line; what looks like markup in it is printed as it is."""
        self._console.print(Text(shown(text), style=style), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table; columns that are empty everywhere are left out."""
        kept = list(rows)
        filled = [i for i in range(len(columns)) if any(row[i] for row in kept)]
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for index in filled:
            table.add_column(Text(columns[index]), overflow="fold")
        for row in kept:
            table.add_row(*(Text(shown(row[index], CELL_MAX)) for index in filled))
        self._console.print(table)
