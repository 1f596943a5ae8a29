# SPDX-License-Identifier: Apache-2.0
"""Pure: what is remembered of the attempts to bring a child of a pair up: back-off and pace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from zlib import crc32

from ..pace import Kind
from .facts import Context

BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


def backoff_s(name: str, count: int) -> float:
    """Seconds until the next attempt: doubling, spread by up to a quarter."""
    base = BACKOFF_S[min(count, len(BACKOFF_S) - 1)]
    return base * (1 + crc32(f"{name}{count}".encode()) % 1000 / 4000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """The attempts since the pair was last up, or was given another configuration."""

    tried: str = ""
    """The child that was last initiated."""
    count: int = 0
    retry_at: float = 0.0
    """When the next one is due."""
    slot_at: float | None = None
    """When the pace lets this pair start or look, if it has to wait for that."""
    answered: bool = False
    """Whether there ever was an IKE_SA with this peer: it does not wait behind silent ones."""

    @property
    def kind(self) -> Kind:
        """In which queue the next one waits."""
        if self.answered:
            return Kind.ANSWERED
        return Kind.SILENT if self.tried else Kind.FIRST

    def reserved(self, now: float) -> bool:
        """Whether the time has come that this pair has waited for."""
        return self.slot_at is not None and self.slot_at <= now

    def may_start(self, context: Context) -> bool:
        """Whether the pace allows one now."""
        return self.reserved(context.now) or context.slots.of(self.kind) <= context.now

    def heard(self) -> Attempts:
        """There is an IKE_SA: what was reserved among silent peers is given up."""
        return self if self.answered else replace(self, answered=True, slot_at=None)

    def forgotten(self) -> Attempts:
        """The pair is up, or wanted no more."""
        return Attempts(answered=self.answered)

    def renewed(self) -> Attempts:
        """Another configuration may do at once; the queue is the same."""
        return replace(self, count=0, retry_at=0.0)
