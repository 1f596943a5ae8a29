# SPDX-License-Identifier: Apache-2.0
"""Pure: a file of rules, one `PRIORITY RULE` on each line, to rules and every error in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...errors import InputError
from ...model.policy import Rule
from ...schema.fields import Place
from ...schema.rules import PREFIX, PRIORITY_MAX, TEXT_MAX, RuleError, parse_rule, priority_of

STEP = 100
_LINE = re.compile(r"\s*(\S+)(?:\s+(.*\S))?\s*\Z")
_WIDTH = 2 * TEXT_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something in a line that cannot be taken."""

    line: int
    """From 1."""
    column: int
    """From 1."""
    text: str
    """The line, fit to be shown."""
    reason: str

    def caret(self) -> str:
        """The line, and on a second one a caret under the fault."""
        return f"{self.text}\n{'^':>{self.column}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFile:
    """What a file says."""

    rules: tuple[Rule, ...]
    """Highest priority first."""
    lines: dict[int, tuple[int, int]]
    """Priority to the line that has it and the column where its rule begins."""
    texts: tuple[str, ...]
    """All lines, fit to be shown."""
    faults: tuple[Fault, ...]
    """In the order of the lines."""

    def fault(self, error: RuleError, priority: int) -> Fault:
        """Tell where in the file a rule's fault is."""
        line, start = self.lines[priority]
        return Fault(
            line=line,
            column=start + error.column - 1,
            text=self.texts[line - 1],
            reason=error.reason,
        )


def parse_file(text: str) -> RuleFile:
    """Parse all lines; those that are empty or begin with # say nothing.

    Args:
        text: The file; characters that are no text refuse the line that they are in.
    """
    rules: list[Rule] = []
    lines: dict[int, tuple[int, int]] = {}
    faults: list[Fault] = []
    # Not splitlines(), which also ends lines where no editor does.
    raw = text.removeprefix("\ufeff").split("\n")
    for number, line in enumerate(raw, start=1):
        found = _LINE.match(line)
        if found is None or found[1].startswith("#"):
            continue
        try:
            rule, start = _parse_line(found, lines)
        except _Refused as refused:
            faults.append(
                Fault(
                    line=number,
                    column=refused.index + 1,
                    text=_shown(line),
                    reason=refused.reason,
                )
            )
        else:
            rules.append(rule)
            lines[rule.priority] = (number, start + 1)
    return RuleFile(
        rules=tuple(sorted(rules, key=lambda rule: -rule.priority)),
        lines=lines,
        texts=tuple(_shown(line) for line in raw),
        faults=tuple(faults),
    )


class _Refused(Exception):  # noqa: N818 - it does not leave this module
    def __init__(self, index: int, reason: str) -> None:
        self.index, self.reason = index, reason
        super().__init__(reason)


def _parse_line(found: re.Match[str], lines: Mapping[int, tuple[int, int]]) -> tuple[Rule, int]:
    """Parse a line; returns the rule and the index where its text begins."""
    place = Place(table="file", row=".", key=PREFIX + found[1])
    try:
        priority = priority_of(place, found[1])
    except InputError:
        reason = f"expected a priority from 1 to {PRIORITY_MAX}, a blank, and a rule"
        raise _Refused(found.start(1), reason) from None
    if priority in lines:
        reason = f"expected another priority: line {lines[priority][0]} has this one"
        raise _Refused(found.start(1), reason)
    start = found.end(1) + 1 if found[2] is None else found.start(2)
    try:
        return parse_rule(place, priority, found[2] or ""), start
    except RuleError as error:
        raise _Refused(start + error.column - 1, error.reason) from error


def _shown(line: str) -> str:
    """A line without what a terminal would act on; every column stays where it is."""
    text = line.rstrip()[:_WIDTH].replace("\t", " ")
    return "".join(c if c.isprintable() else "?" for c in text)


def free_priority(taken: Iterable[int]) -> int | None:
    """The lowest multiple of a hundred above all that are taken; None when there is none left."""
    wanted = (max(taken, default=0) // STEP + 1) * STEP
    return wanted if wanted <= PRIORITY_MAX else None


def taken_priorities(keys: Iterable[str]) -> frozenset[int]:
    """Priorities of NB_Global.options that are in use, by rules that parse or not."""
    numbers = (key.removeprefix(PREFIX) for key in keys if key.startswith(PREFIX))
    return frozenset(int(n) for n in numbers if n.isascii() and n.isdigit() and len(n) <= 5)
