# SPDX-License-Identifier: Apache-2.0
"""Wait for a fact to become true, for as long as this machine may need for it.

Edge (the clock).

A limit is there to end what hangs, and not to judge a machine. Each is written for the slowest
machine that the laboratory was seen to work on, and is longer on a slower one by what a yardstick
says. A faster one gets no less: its limits cost nothing, since nobody waits for them.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tenacity import (
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception_type,
    retry_if_not_result,
    stop_after_delay,
    wait_fixed,
)

from .errors import LabError

T = TypeVar("T")

YARDSTICK = 500_000
"""Turns of the loop that is timed."""
YARDSTICK_S = 2.0
"""What it takes on the slowest machine that the limits were made for: in a guest that has a fifth
of the time of a fast machine; with all of it 0.3 to 0.5 s, and 0.04 s on that machine itself."""


@functools.cache
def slowness() -> float:
    """How many times slower this machine is than that one, at least 1; measured once."""
    begin = time.perf_counter()
    sum(number * number for number in range(YARDSTICK))
    return max(1.0, (time.perf_counter() - begin) / YARDSTICK_S)


def stretched(limit_s: float) -> float:
    """Return what a limit is on this machine, in seconds."""
    return limit_s * slowness()


def wait_until(predicate: Callable[[], T], timeout: float, what: str, *, every: float = 0.25) -> T:
    """Poll until the predicate is true, and return what made it so.

    Args:
        predicate: Called again and again; an ``OSError`` or ``LabError`` counts as not yet.
        timeout: Seconds before giving up, on a machine of the usual speed (``stretched``).
        what: The awaited fact in words, for the error.
        every: Seconds between two polls.

    Raises:
        LabError: The time is over; names the fact and the last error.
    """
    timeout = stretched(timeout)
    attempts = Retrying(
        retry=retry_if_exception_type((OSError, LabError)) | retry_if_not_result(bool),
        stop=stop_after_delay(timeout),
        wait=wait_fixed(every),
    )
    try:
        return attempts(predicate)
    except RetryError as error:
        last = error.last_attempt.exception()
        detail = f" (last: {last})" if last else ""
        raise LabError(f"not within {timeout:g} s: {what}{detail}") from None


def poll(predicate: Callable[[], T], limit_s: float, *, every: float) -> T:
    """Poll until the predicate is true or the time is over, and return its last answer.

    Args:
        predicate: Called again and again.
        limit_s: Seconds before giving up, as they are.
        every: Seconds between two polls.
    """
    attempts = Retrying(
        retry=retry_if_not_result(bool),
        stop=stop_after_delay(limit_s),
        wait=wait_fixed(every),
        retry_error_callback=_last_answer,
    )
    return attempts(predicate)


def _last_answer(state: RetryCallState) -> Any:
    return None if state.outcome is None else state.outcome.result()
