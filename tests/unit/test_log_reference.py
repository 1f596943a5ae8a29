# SPDX-License-Identifier: Apache-2.0
"""The reference of the log: it has every event that the programs can write, at its level."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception"}
PROGRAMS = {
    "controller": "Events of ovn-ipsec-controller",
    "northd_ext": "Events of ovn-ipsec-northd",
    "ovn_ipsec": "Events of both",
}
LOGGERS = ("log", "events")
"""How the names of loggers end."""

Found = dict[str, dict[str, set[str]]]


def _levels(node: ast.AST) -> set[str]:
    """The levels of the methods of a logger that an expression names."""
    return {
        one.attr
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute)
        and one.attr in LEVELS
        and ast.unparse(one.value).endswith(LOGGERS)
    }


def _events(path: Path) -> Iterator[tuple[str, set[str]]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    chosen = {
        target.id: _levels(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        levels = chosen.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if isinstance(node.func, ast.Attribute):
            levels = _levels(node.func)
        if levels and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value), levels


def written() -> Found:
    """By heading of the page, the events in the code, with their levels."""
    found: Found = {heading: defaultdict(set) for heading in PROGRAMS.values()}
    for package, heading in PROGRAMS.items():
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.is_relative_to(ROOT / "ovn_ipsec" / "lab"):
                continue
            for event, levels in _events(path):
                found[heading][event] |= {
                    "error" if level == "exception" else level for level in levels
                }
    return found


def explained() -> Found:
    """The same, as the page has them."""
    page = (ROOT / "docs" / "reference" / "log.md").read_text(encoding="utf-8")
    found: Found = {heading: {} for heading in PROGRAMS.values()}
    for part in page.split("\n## "):
        heading, _, text = part.partition("\n")
        if heading in found:
            rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| \S.*\. \|$", text, re.MULTILINE)
            found[heading] = {event: set(levels.split(", ")) for event, levels in rows}
    return found


def test_every_event_is_explained_and_none_besides() -> None:
    """An operator who meets a line finds it in the reference."""
    assert written() == explained()


def test_the_events_of_each_program_are_sorted() -> None:
    """So that one is found by eye."""
    for events in explained().values():
        assert list(events) == sorted(events)
