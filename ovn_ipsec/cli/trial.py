# SPDX-License-Identifier: Apache-2.0
"""Pure: what the rules in NB decide about the pairs of two chassis, in force or not."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from ..model.policy import Treatment
from ..schema.report import printable
from .decisions import Evaluation, asked
from .explanation import decider, why_none
from .pairs import Ends, between, is_across
from .view import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLine:
    """One pair."""

    ends: Ends
    treatment: Treatment
    decided_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """All pairs of two chassis."""

    lines: tuple[TrialLine, ...]
    reason: str
    """Why there are none; empty when there are."""


def try_pairs(snapshot: Snapshot, one: str, other: str) -> Trial:
    """Ask the rules; memberships of all networks that they name must be known."""
    evaluation = Evaluation(snapshot, asked(snapshot))
    first, second = snapshot.chassis[one], snapshot.chassis[other]
    lines: list[TrialLine] = []
    for ends in between(first, second):
        one_end, other_end = (evaluation.seen(end.view, end.encap) for end in ends)
        verdict = evaluation.verdict(one_end, other_end)
        lines.append(
            TrialLine(
                ends=ends,
                treatment=verdict.treatment,
                decided_by=decider(verdict, local=not is_across(ends)),
            )
        )
    return Trial(lines=tuple(lines), reason="" if lines else why_none(first, second))


def unknown(snapshot: Snapshot, name: str) -> str:
    """Say that a chassis is not known, and which may have been meant; empty when it is."""
    if name in snapshot.chassis:
        return ""
    near = get_close_matches(name, snapshot.chassis, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"there is no chassis {printable(name, 80)} that can be a peer{hint}"
