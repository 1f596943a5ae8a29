# SPDX-License-Identifier: Apache-2.0
"""Pure: something that is wrong, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

CLUSTER = "cluster"
"""The subject of what is not of one chassis."""
BLOCKED, PENDING = "pairs blocked", "pairs pending"
"""Kinds that are mostly what comes of another problem, perhaps at the other end."""


class Level(StrEnum):
    """How bad it is."""

    WARNING = "warning"
    """It will be a problem."""
    URGENT = "urgent"
    """It will be one within 7 days."""
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not well."""

    subject: str
    """`cluster`, or a chassis."""
    problem: str
    next_step: str
    level: Level = Level.PROBLEM
    kind: str = ""
    """The problem without what differs from one chassis to the other; empty: told by itself."""
