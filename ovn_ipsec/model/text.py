# SPDX-License-Identifier: Apache-2.0
"""Pure: text written by others, made safe to show: one line, printable, limited in length.

Whatever came from a row passes through here wherever it is shown: logs, command line, metrics,
appctl, and the keys that are written back into a database. A terminal obeys control characters, a
log reader believes line breaks, and a lone surrogate cannot be encoded at all.
"""

from __future__ import annotations

TEXT_MAX = 500
"""Maximum length of one value in characters, unless the place that shows it has its own limit."""


def printable(text: str, limit: int = TEXT_MAX) -> str:
    """One line of printable characters, cut to a limit; ``?`` replaces each unprintable one."""
    cut = text[:limit]
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "?" for c in cut)


def printable_lines(text: str) -> str:
    """Lines of printable characters and tabs, not cut: for text that is laid out already."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def plural(number: int, one: str, many: str = "") -> str:
    """A number of things: `1 pair`, `2 pairs`.

    Args:
        number: How many.
        one: The word for one.
        many: The word for more; empty: with an s.
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"
