# SPDX-License-Identifier: Apache-2.0
"""Pure: what a daemon waits for."""

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
