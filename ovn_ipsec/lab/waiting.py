# SPDX-License-Identifier: Apache-2.0
"""Wait for a fact to become true.

Edge (the clock).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from .errors import LabError

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout: float, what: str, *, every: float = 0.25) -> T:
    """Poll until the predicate is true, and return what made it so.

    Args:
        predicate: Called again and again; an ``OSError`` or ``LabError`` counts as not yet.
        timeout: Seconds before giving up.
        what: The awaited fact in words, for the error.
        every: Seconds between two polls.

    Raises:
        LabError: The time is over; names the fact and the last error.
    """
    end = time.monotonic() + timeout
    last: Exception | None = None
    while True:
        try:
            if found := predicate():
                return found
            last = None
        except (OSError, LabError) as error:
            last = error
        if time.monotonic() >= end:
            detail = f" (last: {last})" if last else ""
            raise LabError(f"not within {timeout:g} s: {what}{detail}")
        time.sleep(every)
