# SPDX-License-Identifier: Apache-2.0
"""Pure: when the end of a certificate is worth a warning."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

WARN, URGENT = timedelta(days=30), timedelta(days=7)
WARN_PART, URGENT_PART = 0.1, 0.025
"""Fractions of a short life: automatic renewal happens before 90 % of it has passed."""


class Expiry(StrEnum):
    """How near the end of a certificate is."""

    VALID = "valid"
    EXPIRING = "expiring"
    URGENT = "urgent"
    EXPIRED = "expired"


def expiry(begin: datetime, end: datetime, now: datetime) -> Expiry:
    """Say how near the end of a certificate is: 30 and 7 days, or the last parts of its life.

    Args:
        begin: When it becomes valid, aware.
        end: When it expires, aware.
        now: Wall time, aware.
    """
    life, left = end - begin, end - now
    if left <= timedelta(0):
        return Expiry.EXPIRED
    if left < min(URGENT, life * URGENT_PART):
        return Expiry.URGENT
    return Expiry.EXPIRING if left < min(WARN, life * WARN_PART) else Expiry.VALID
