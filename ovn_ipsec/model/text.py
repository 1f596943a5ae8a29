# SPDX-License-Identifier: Apache-2.0
"""Pure: text of other people's, made fit to be shown: one line, printable, and bounded.

What came from a row goes through here wherever it is shown: logs, command line, metrics, appctl,
and the keys that are written back into a database. A terminal obeys control characters, a log
reader believes line breaks, and a lone surrogate cannot be encoded at all.
"""

from __future__ import annotations

TEXT_MAX = 500
"""Characters of one value, where the place that shows it has no limit of its own."""


def printable(text: str, limit: int = TEXT_MAX) -> str:
    """One line of printable characters, cut to a limit; ``?`` stands for each that is not."""
    cut = text[:limit]
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "?" for c in cut)


def printable_lines(text: str) -> str:
    """Lines of printable characters and tabs, for what is laid out already and is not cut."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
