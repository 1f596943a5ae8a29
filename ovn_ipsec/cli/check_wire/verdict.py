# SPDX-License-Identifier: Apache-2.0
"""Pure: what was sent and what was seen, to what that proves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..settings import Exit
from .probes import Kind, Sight, matches

READABLE_NEXT = (
    "see `ip xfrm state` for hw_offload or a null cipher: where a card encrypts, watch beyond it"
)


class Outcome(StrEnum):
    """What was proven of a pair."""

    ENCRYPTED = "encrypted"
    CLEAR = "clear"
    DENIED = "denied"
    """Nothing left: no secret was lost, and nothing arrives."""
    UNKNOWN = "unknown"


EXIT = {
    Outcome.ENCRYPTED: Exit.WELL,
    Outcome.CLEAR: Exit.DEGRADED,
    Outcome.DENIED: Exit.DEGRADED,
    Outcome.UNKNOWN: Exit.CANNOT_TELL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What was sent and seen."""

    device: str
    """Where packets for the peer leave."""
    sizes: tuple[int, ...]
    refused: Mapping[int, str] = field(default_factory=dict)
    """By size, the probes that the kernel did not take, and what it said."""
    seen: tuple[Sight, ...] = ()
    overlooked: int = 0
    """Packets that left faster than we could look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What that proves."""

    outcome: Outcome
    said: str
    next_step: str = ""


def judge_wire(tried: Tried, explain: str) -> Verdict:
    """Judge a pair by what left for it; one clear packet outweighs everything else.

    Args:
        tried: What was sent and seen.
        explain: The command that says why a pair is as it is.
    """
    number, device = len(tried.sizes), tried.device
    clear, readable = (_count(tried.seen, kind) for kind in (Kind.CLEAR, Kind.READABLE))
    if clear:
        said = f"{clear} packets with the mark of {number} probes left {device} in the clear"
        return Verdict(outcome=Outcome.CLEAR, said=said, next_step=explain)
    if readable:
        said = f"{readable} probes can be read in the ESP that was handed to {device}"
        return Verdict(outcome=Outcome.UNKNOWN, said=said, next_step=READABLE_NEXT)
    if tried.overlooked:
        said = f"{tried.overlooked} packets left {device} faster than they could be looked at"
        return Verdict(outcome=Outcome.UNKNOWN, said=said, next_step="try again with less traffic")
    esp = [sight.size for sight in tried.seen if sight.kind is Kind.ESP]
    left = [size for size in tried.sizes if size not in tried.refused]
    hidden = sum(any(matches(size, one) for one in esp) for size in left)
    if hidden == number:
        said = f"all {number} probes left {device} as ESP, none in the clear"
        return Verdict(outcome=Outcome.ENCRYPTED, said=said)
    if hidden:
        said = f"{hidden} of {number} probes left {device} as ESP, none in the clear; not the rest"
        return Verdict(outcome=Outcome.UNKNOWN, said=said, next_step="try again")
    why = f" ({next(iter(tried.refused.values()))})" if tried.refused else ""
    said = f"none of {number} probes left {device}, as ESP or in the clear: they were denied{why}"
    return Verdict(outcome=Outcome.DENIED, said=said, next_step=explain)


def _count(seen: Iterable[Sight], kind: Kind) -> int:
    return sum(sight.kind is kind for sight in seen)


def overall(outcomes: Iterable[Outcome]) -> Exit:
    """Sum several pairs up: what is bad counts before what nobody can tell."""
    found = {EXIT[outcome] for outcome in outcomes}
    return next(
        (one for one in (Exit.DEGRADED, Exit.CANNOT_TELL) if one in found),
        Exit.WELL if found else Exit.CANNOT_TELL,
    )
