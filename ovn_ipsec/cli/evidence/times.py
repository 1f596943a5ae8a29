# SPDX-License-Identifier: Apache-2.0
"""Pure: a time as an operator writes it: a moment, or so long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime

EXPECTED = "expected a time such as 2026-11-28 or 2026-11-28T14:00:00Z, or 30m, 24h or 7d ago"
_AGO = re.compile(r"([0-9]{1,6})([mhd])\Z", re.ASCII)
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


def parse_time(text: str, now: datetime) -> int:
    """Read a time; one without a zone is UTC.

    Args:
        text: Of the operator.
        now: Wall time, aware.

    Returns:
        Whole seconds since the epoch, not negative.

    Raises:
        ValueError: What was expected.
    """
    ago = _AGO.match(text)
    if ago is not None:
        return max(0, int(now.timestamp()) - int(ago[1]) * _SECONDS[ago[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(EXPECTED) from None
    aware = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return max(0, int(aware.timestamp()))
