# SPDX-License-Identifier: Apache-2.0
"""Pure: what a daemon waits for, and what it reaches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wait:
    """What a daemon waits for."""

    reason: str
    """In one line, with what a person can do about it."""
    known: bool = True
    """False: nothing is known to be amiss, but an answer has not come yet."""
    told: bool = False
    """Whether the log says so in a line of its own already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A database, or a daemon, as far as it is reached."""

    where: str
    up: bool
    problem: str = ""
    """Why it is not, as the log has said; empty also while an answer may be on its way."""


def away(what: str, reached: Reached) -> Wait | None:
    """Wait for what is not reached.

    Args:
        what: How that is called, in a line that goes on with the reason.
        reached: It.

    Returns:
        None: it is reached.
    """
    if reached.up:
        return None
    if reached.problem:
        return Wait(f"{what}: {reached.problem}", told=True)
    return Wait(f"{what}: {reached.where}: no answer yet", known=False)
