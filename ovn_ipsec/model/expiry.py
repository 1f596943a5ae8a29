# SPDX-License-Identifier: Apache-2.0
"""Pure: when the end of a certificate is worth a word."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

WARN, URGENT = timedelta(days=30), timedelta(days=7)
WARN_PART, URGENT_PART = 0.1, 0.025
"""Of a short life so much less: who renews by itself does so before 90 % of it."""


class Expiry(StrEnum):
    """How near the end is."""

    VALID = "valid"
    EXPIRING = "expiring"
    URGENT = "urgent"
    EXPIRED = "expired"


def expiry(begin: datetime, end: datetime, now: datetime) -> Expiry:
    """Say how near the end of a certificate is: 30 and 7 days, or the last parts of its life.

    Args:
        begin: From when it is valid, aware.
        end: Until when.
        now: Wall time, aware.
    """
    life, left = end - begin, end - now
    if left <= timedelta(0):
        return Expiry.EXPIRED
    if left < min(URGENT, life * URGENT_PART):
        return Expiry.URGENT
    return Expiry.EXPIRING if left < min(WARN, life * WARN_PART) else Expiry.VALID
