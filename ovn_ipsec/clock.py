# SPDX-License-Identifier: Apache-2.0
"""Edge: the two clocks. Intervals are monotonic seconds; wall time is only for certificates."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def monotonic() -> float:
    """Seconds on a clock that only goes forward."""
    return time.monotonic()


def utc_now() -> datetime:
    """Wall time, aware, UTC."""
    return datetime.now(UTC)
