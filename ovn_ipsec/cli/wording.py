# SPDX-License-Identifier: Apache-2.0
"""Pure: numbers, times and lists of names as people read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from ..model.text import plural as plural  # noqa: PLC0414 - where others look for it

_UNITS = ((86_400, "day", "days"), (3_600, "h", "h"), (60, "min", "min"), (1, "s", "s"))
_TWO_PARTS_FROM = 3_600
_DIGITS = re.compile(r"(\d{1,18})")


def of_chassis(number: int) -> str:
    """A number of chassis: the word is its own plural."""
    return plural(number, "chassis", "chassis")


def duration(seconds: float) -> str:
    """How long something has lasted: `4 s`, `3 min`, `2 h 5 min`, `3 days`."""
    rest = max(0, int(seconds))
    for index, (size, one, many) in enumerate(_UNITS):
        if rest >= size:
            text = plural(rest // size, one, many)
            left = rest % size
            if size == _TWO_PARTS_FROM and left >= _UNITS[index + 1][0]:
                text += f" {left // 60} min"
            return text
    return "0 s"


def ago(then: datetime, now: datetime) -> str:
    """When something was, from now: `3 min ago`; `in 3 days` where it is still to come."""
    passed = (now - then) / timedelta(seconds=1)
    if abs(passed) < 1:
        return "just now"
    return f"{duration(passed)} ago" if passed >= 0 else f"in {duration(-passed)}"


def day(at: datetime, now: datetime) -> str:
    """A date as `2027-07-20`, in the time zone of `now`."""
    return f"{at.astimezone(now.tzinfo):%Y-%m-%d}"


def natural(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """A key that sorts hv2 before hv10."""
    parts = _DIGITS.split(name)
    key = tuple((0, int(p), "") if i % 2 else (1, 0, p) for i, p in enumerate(parts))
    return key, name


def first_names(names: Iterable[str], room: int) -> str:
    """As many names as there is room for, none of them cut, and how many more there are.

    Args:
        names: At least one; the first is named in any case.
        room: Characters.
    """
    ordered: Sequence[str] = sorted(names, key=natural)
    text = ordered[0] + _rest(len(ordered) - 1)
    shown = ordered[0]
    for number, name in enumerate(ordered[1:], start=2):
        shown += f", {name}"
        if len(shown) > room:
            break
        longer = shown + _rest(len(ordered) - number)
        if len(longer) <= room:
            text = longer
    return text


def _rest(number: int) -> str:
    return f" and {number} more" if number else ""
