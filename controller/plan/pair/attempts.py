# SPDX-License-Identifier: Apache-2.0
"""Pure: the attempts to bring a child of a pair up: their back-off and their pacing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from zlib import crc32

from ovn_ipsec.model.amend import amended

from ..pace import Kind
from .facts import Context

BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


def backoff_s(name: str, count: int) -> float:
    """Seconds until the next attempt: doubling, spread by up to a quarter."""
    base = BACKOFF_S[min(count, len(BACKOFF_S) - 1)]
    return base * (1 + crc32(f"{name}{count}".encode()) % 1000 / 4000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """The attempts since the pair was last up, or since its configuration last changed."""

    tried: str = ""
    """The child that was last initiated."""
    count: int = 0
    retry_at: float = 0.0
    """When the next one is due."""
    slot_at: float | None = None
    """When the pacing lets this pair start or look, if it has to wait for that."""
    answered: bool = False
    """Whether this peer ever had an IKE_SA: then this pair does not queue behind silent peers."""

    @property
    def kind(self) -> Kind:
        """The queue in which the next attempt waits."""
        if self.answered:
            return Kind.ANSWERED
        return Kind.SILENT if self.tried else Kind.FIRST

    def reserved(self, now: float) -> bool:
        """Whether the reserved time has come."""
        return self.slot_at is not None and self.slot_at <= now

    def may_start(self, context: Context) -> bool:
        """Whether the pacing allows an attempt now."""
        return self.reserved(context.now) or context.slots.of(self.kind) <= context.now

    def heard(self) -> Attempts:
        """Note that there is an IKE_SA: a slot reserved among silent peers is given up."""
        return self if self.answered else replace(self, answered=True, slot_at=None)

    def forgotten(self) -> Attempts:
        """Start over, because the pair is up or no longer wanted."""
        return Attempts(answered=self.answered)

    def renewed(self) -> Attempts:
        """Allow an attempt at once, for another configuration; the queue stays the same."""
        return amended(self, count=0, retry_at=0.0)
