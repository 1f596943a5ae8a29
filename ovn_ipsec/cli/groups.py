# SPDX-License-Identifier: Apache-2.0
"""Pure: findings told once each, with the number and the names of those that they hold for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .finding import BLOCKED, CLUSTER, PENDING, Finding, Level
from .layout import Line, folded, height
from .wording import first_names, natural, of_chassis, plural

COLOURS = {Level.WARNING: "yellow", Level.URGENT: "bold red", Level.PROBLEM: "yellow"}
_ORDER = (Level.PROBLEM, Level.URGENT, Level.WARNING)
_VARIES = re.compile(r"\S*\d\S*")
_INDENT = " " * 4
PIPE_WIDTH = 240
"""Of lines of names, where no others are folded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One problem, wherever it is met."""

    subjects: tuple[str, ...]
    """CLUSTER, or chassis; each once."""
    problem: str
    """Without what differs from one to the other, where something does."""
    next_step: str
    level: Level
    is_symptom: bool = False
    """Whether another problem is the likely reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of one problem is shown; 0: all."""

    problem: int = 0
    """Lines."""
    next_step: int = 0
    """Lines."""
    names: int = 0
    """Lines."""


EVERYTHING = Limits()
UNCUT = Limits(names=1)
BRIEF = Limits(problem=2, next_step=3, names=1)


def grouped(findings: Iterable[Finding]) -> tuple[Group, ...]:
    """Put together what differs in nothing but names and numbers, the worst and widest first."""
    found: dict[tuple[str, str, Level], list[Finding]] = {}
    for one in findings:
        kind = one.kind or _VARIES.sub("...", one.problem)
        if one.subject == CLUSTER:
            kind = one.problem
        found.setdefault((kind, one.next_step, one.level), []).append(one)
    groups: list[Group] = []
    for (kind, next_step, level), ones in found.items():
        texts = list(dict.fromkeys(one.problem for one in ones))
        subjects = tuple(sorted({one.subject for one in ones}, key=natural))
        is_symptom = kind in (BLOCKED, PENDING)
        if len(subjects) > 1 and (len(texts) > 1 or is_symptom):
            texts = [kind]
        groups.extend(
            Group(
                subjects=subjects,
                problem=text,
                next_step=next_step,
                level=level,
                is_symptom=is_symptom,
            )
            for text in texts
        )
    return tuple(sorted(groups, key=_rank))


def _rank(group: Group) -> tuple[int, bool, bool, int, str]:
    urgency = (_ORDER.index(group.level), group.is_symptom, group.subjects != (CLUSTER,))
    return (*urgency, -len(group.subjects), group.problem)


def told(groups: Sequence[Group], width: int | None, limits: Limits = EVERYTHING) -> list[Line]:
    """The lines of problems; what helps against several in a row is said once, below them.

    Args:
        groups: The problems.
        width: Of the screen.
        limits: How much of each is shown.
    """
    lines: list[Line] = []
    for index, group in enumerate(groups):
        lines += _problem(group, width, limits)
        following = groups[index + 1 : index + 2]
        if not following or following[0].next_step != group.next_step:
            step = f"{_INDENT}next: {group.next_step}"
            lines += folded(step, width, indent=" " * 10, limit=limits.next_step)
    return lines


def _problem(group: Group, width: int | None, limits: Limits) -> list[Line]:
    many = len(group.subjects) > 1
    subject = of_chassis(len(group.subjects)) if many else group.subjects[0]
    lines = folded(
        f"{subject}: {group.problem}",
        width,
        indent=_INDENT,
        style=COLOURS[group.level],
        limit=limits.problem,
    )
    if many:
        room = width or PIPE_WIDTH
        names = ", ".join(group.subjects)
        if limits.names:
            names = first_names(group.subjects, room - len(_INDENT))
        lines += folded(f"{_INDENT}{names}", room, indent=_INDENT)
    return lines


def heading(groups: Sequence[Group]) -> str:
    """How much is wrong: `2 problems on 7 chassis, 1 warning`; empty when nothing is."""
    bad = [group for group in groups if group.level is Level.PROBLEM]
    names = {name for group in bad for name in group.subjects if name != CLUSTER}
    parts: list[str] = []
    if bad:
        where = f" on {of_chassis(len(names))}" if names else ""
        parts.append(f"{plural(len(bad), 'problem')}{where}")
    if len(groups) > len(bad):
        parts.append(plural(len(groups) - len(bad), "warning"))
    return ", ".join(parts)


def as_many_as_fit(
    groups: Sequence[Group], width: int | None, room: int, see_all: str
) -> list[Line]:
    """Problems, the first of them in any case, and where the rest of them is told.

    Args:
        groups: The worst first.
        width: Of the screen.
        room: Lines that there are.
        see_all: The command that tells all.
    """
    everything = told(groups, width)
    uncut = told(groups, width, UNCUT)
    if height(uncut, width) + (uncut != everything) <= room:
        return uncut if uncut == everything else [*uncut, Line(f"in full: {see_all}")]
    shown = len(groups)
    lines = told(groups, width, BRIEF)
    while shown > 1 and height(lines, width) + 1 > room:
        shown -= 1
        lines = told(groups[:shown], width, BRIEF)
    left = len(groups) - shown
    return [*lines, Line(f"and {left} more: {see_all}" if left else f"in full: {see_all}")]
