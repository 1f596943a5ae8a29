# SPDX-License-Identifier: Apache-2.0
"""Edge: the two clocks.

Intervals are monotonic seconds; wall time is for certificates, and for generations of a policy.

A daemon is given a Clock, so that a test can run it in virtual time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where a daemon gets the time from."""

    def monotonic(self) -> float:
        """Seconds on a clock that only goes forward."""

    def utc_now(self) -> datetime:
        """Wall time, aware, UTC."""


class SystemClock:
    """The clocks of this machine."""

    def monotonic(self) -> float:
        """Seconds on a clock that only goes forward."""
        return time.monotonic()

    def utc_now(self) -> datetime:
        """Wall time, aware, UTC."""
        return datetime.now(UTC)


SYSTEM = SystemClock()


def monotonic() -> float:
    """Seconds on the system's clock that only goes forward."""
    return SYSTEM.monotonic()


def utc_now() -> datetime:
    """Wall time of the system, aware, UTC."""
    return SYSTEM.utc_now()


def local_now() -> datetime:
    """Wall time of the system in the time zone of who looks at the screen, aware."""
    return SYSTEM.utc_now().astimezone()
