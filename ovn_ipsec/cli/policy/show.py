# SPDX-License-Identifier: Apache-2.0
"""Edge (the screen): prints what the `ovn-ipsec policy` commands found, for people and programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...errors import InputError
from ...model.policy import Treatment
from ...schema.report import printable
from ...schema.rules import RuleError
from ..decisions import Change, Difference, first_examples, words
from ..output import say_json
from ..settings import Exit
from ..tables import Screen
from ..trial import Trial
from ..wording import plural
from .editing import Assessment
from .listing import Listing, RuleLine, caret_of
from .rulefile import Fault, RuleFile

BAD, GOOD, WARN = "red", "green", "yellow"
_ERROR_MAX = 600


def treatment_json(treatment: Treatment) -> dict[str, str]:
    """A treatment for programs."""
    return {"mode": str(treatment.mode), "profile": str(treatment.profile)}


def _text(fault: str | InputError) -> str:
    return printable(fault if isinstance(fault, str) else fault.diagnostics(), _ERROR_MAX)


def _fault_json(fault: str | InputError) -> dict[str, Any]:
    if isinstance(fault, RuleError):
        where = {"key": fault.key, "text": fault.text, "column": fault.column}
        return {**where, "reason": fault.reason}
    if isinstance(fault, InputError):
        return {"key": fault.key, "text": fault.text, "reason": fault.reason}
    return {"reason": fault}


def _show_fault(screen: Screen, fault: str | InputError) -> None:
    """One fault, with the caret where there is a column to point at."""
    if isinstance(fault, RuleError):
        screen.line(f"{fault.key}: {fault.reason}", BAD)
        for line in caret_of(fault).splitlines():
            screen.line(f"    {line}")
    else:
        screen.line(_text(fault), BAD)


def refuse(faults: Sequence[str | InputError], *, as_json: bool) -> Exit:
    """Say why nothing is done."""
    if as_json:
        say_json({"written": False, "refused": [_fault_json(fault) for fault in faults]})
    else:
        screen = Screen()
        for fault in faults:
            _show_fault(screen, fault)
    return Exit.DEGRADED


def _line_json(line: RuleLine) -> dict[str, Any]:
    return {
        "priority": int(line.label) if line.label.isdigit() else line.label,
        "rule": line.text,
        "pairs": line.pairs,
        "in_force": line.in_force,
        "notes": list(line.notes),
    }


def listing_json(listing: Listing) -> dict[str, Any]:
    """What `policy list --json` prints."""
    held = listing.held
    return {
        "switch": listing.switch,
        "state": listing.state,
        "rules": [_line_json(line) for line in listing.lines],
        "errors": [*map(_fault_json, listing.errors), *map(_fault_json, listing.problems)],
        "in_force": None
        if held is None
        else {
            "generation": held.generation,
            "phase": held.phase,
            "default": held.default,
            "floor": held.floor,
            "pairs": held.modes,
            "vnis_never_clear": held.vnis,
            "not_asked_for": list(held.leftover),
        },
        "exit": int(listing.exit),
    }


def show_listing(listing: Listing, *, as_json: bool) -> None:
    """Print rules, faults, and what is in force."""
    if as_json:
        say_json(listing_json(listing))
        return
    screen = Screen()
    rows = [
        (line.label, line.text, str(line.pairs), "; ".join(_notes(listing, line)))
        for line in listing.lines
    ]
    screen.table(("priority", "rule", "pairs", "note"), rows)
    for error in listing.errors:
        _show_fault(screen, error)
    for problem in listing.problems:
        _show_fault(screen, problem)
    held = listing.held
    if held is None:
        why = "" if listing.switch else ": encryption is switched off"
        screen.line(f"nothing is in force{why}")
        return
    counts = ", ".join(f"{mode} {count}" for mode, count in held.modes.items() if count)
    screen.line(
        f"in force: generation {held.generation}, {held.phase}, default {held.default},"
        f" floor {held.floor}; pairs: {counts or 'none'}"
    )
    if held.vnis:
        screen.line(f"VNIs that are never clear: {held.vnis}")
    for text in held.leftover:
        screen.line(f"still in force, but no longer asked for: {text}", WARN)


def _notes(listing: Listing, line: RuleLine) -> list[str]:
    waiting = listing.switch and not line.in_force
    return [*(["not yet in force"] if waiting else []), *line.notes]


def _change_json(change: Change) -> dict[str, Any]:
    return {
        "old": treatment_json(change.old),
        "new": treatment_json(change.new),
        "pairs": change.count,
        "weakens": change.weakens,
    }


def _difference_json(difference: Difference) -> dict[str, Any]:
    return {
        "changes": [_change_json(change) for change in difference.changes],
        "same": difference.same,
        "weakened": difference.weakened,
        "examples": [
            {**_change_json(change), "pairs": [str(end) for end in ends]}
            for change, ends in first_examples(difference.changes)
        ],
    }


def _show_changes(screen: Screen, difference: Difference) -> None:
    if not difference.changes:
        screen.line(f"no pair changes; {plural(difference.same, 'pair')} unchanged")
        return
    for change in difference.changes:
        pairs = plural(change.count, "pair")
        mark = ", weakened" if change.weakens else ""
        text = f"{pairs}: {words(change.old)} -> {words(change.new)}{mark}"
        screen.line(text, BAD if change.weakens else "")
    screen.line(f"{plural(difference.same, 'pair')} unchanged")


def _show_examples(screen: Screen, difference: Difference) -> None:
    for change, (one, other) in first_examples(difference.changes):
        text = f"    {one} - {other}: {words(change.old)} -> {words(change.new)}"
        screen.line(text, BAD if change.weakens else "")
    shown = len(first_examples(difference.changes))
    total = sum(change.count for change in difference.changes)
    if total > shown:
        screen.line(f"    and {total - shown} more")


def show_change(
    changes: Mapping[str, str | None], assessment: Assessment, *, as_json: bool, written: bool
) -> None:
    """Print what a change of NB does, or why it is refused."""
    if as_json:
        say_json(
            {
                "options": dict(changes),
                **_difference_json(assessment.difference),
                "refused": [_fault_json(fault) for fault in assessment.refusals],
                "warnings": list(assessment.warnings),
                "written": written,
            }
        )
        return
    screen = Screen()
    for fault in assessment.refusals:
        _show_fault(screen, fault)
    if assessment.refusals:
        screen.line("refused; nothing was written")
        return
    for key, text in changes.items():
        screen.line(f"delete {key}" if text is None else f"{key} = {text}")
    _show_changes(screen, assessment.difference)
    weakened = Difference(
        changes=tuple(change for change in assessment.difference.changes if change.weakens),
        same=0,
    )
    _show_examples(screen, weakened)
    _show_warnings(screen, assessment.warnings)


def _show_warnings(screen: Screen, warnings: Iterable[str]) -> None:
    for warning in warnings:
        screen.line(printable(warning, _ERROR_MAX), WARN)


def _show_line_fault(screen: Screen, fault: Fault) -> None:
    screen.line(f"line {fault.line}, column {fault.column}: {fault.reason}", BAD)
    for text in fault.caret().splitlines():
        screen.line(f"    {text}")


def _line_fault_json(fault: Fault) -> dict[str, Any]:
    where = {"line": fault.line, "column": fault.column, "text": fault.text}
    return {**where, "reason": fault.reason}


def show_check(found: RuleFile, hidden: Mapping[int, int], *, as_json: bool) -> None:
    """Print every fault of a file, and rules that cannot decide."""
    if as_json:
        faults = [_line_fault_json(fault) for fault in found.faults]
        shadows = {str(low): high for low, high in hidden.items()}
        say_json({"rules": len(found.rules), "faults": faults, "never_decide": shadows})
        return
    screen = Screen()
    for fault in found.faults:
        _show_line_fault(screen, fault)
    for low, high in hidden.items():
        number = found.lines[low][0]
        text = f"line {number}: rule {low} never applies: rule {high} matches all of its pairs"
        screen.line(text, WARN)
    counts = f"{plural(len(found.rules), 'good rule')}, {plural(len(found.faults), 'error')}"
    screen.line(counts, BAD if found.faults else GOOD)


def show_difference(assessment: Assessment, faults: Sequence[Fault], *, as_json: bool) -> None:
    """Print what other rules would change.

    Args:
        assessment: Of the rules in a file.
        faults: Those of the refusals that stand in a line of the file.
        as_json: For programs.
    """
    rest = [fault for fault in assessment.refusals if not isinstance(fault, RuleError)]
    if as_json:
        say_json(
            {
                **_difference_json(assessment.difference),
                "refused": [*map(_line_fault_json, faults), *map(_fault_json, rest)],
                "warnings": list(assessment.warnings),
            }
        )
        return
    screen = Screen()
    for fault in faults:
        _show_line_fault(screen, fault)
    for reason in rest:
        screen.line(_text(reason), BAD)
    if assessment.refusals:
        screen.line("these rules would be refused, and the policy would stay as it is", BAD)
        return
    _show_changes(screen, assessment.difference)
    _show_examples(screen, assessment.difference)
    _show_warnings(screen, assessment.warnings)


def trial_json(trial: Trial) -> dict[str, Any]:
    """What `policy test --json` prints."""
    return {
        "pairs": [
            {
                "type": str(line.ends[0].encap.encap.type),
                "ends": [
                    {"chassis": end.view.name, "ip": str(end.encap.encap.ip)} for end in line.ends
                ],
                **treatment_json(line.treatment),
                "decided_by": line.decided_by,
            }
            for line in trial.lines
        ],
        "reason": trial.reason,
    }


def show_test(trial: Trial, *, as_json: bool) -> None:
    """Print what decides each pair of two chassis."""
    if as_json:
        say_json(trial_json(trial))
        return
    screen = Screen()
    if not trial.lines:
        screen.line(f"no pairs: {trial.reason}")
        return
    rows = [
        (str(line.ends[0]), str(line.ends[1]), words(line.treatment), line.decided_by)
        for line in trial.lines
    ]
    screen.table(("one end", "other end", "mode", "decided by"), rows)
