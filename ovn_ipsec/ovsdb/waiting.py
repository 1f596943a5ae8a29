# SPDX-License-Identifier: Apache-2.0
"""Edge: waits for a session, with a timeout; for programs that have nothing else to do."""

from __future__ import annotations

import time
from collections.abc import Callable

import ovs.poller

from ..errors import OvsdbError
from .session import Session

PATIENCE_S = 5.0
"""For what a database does at once."""


def expect(session: Session, done: Callable[[], bool]) -> None:
    """Wait for what a database does at once.

    Raises:
        OvsdbError: It did not in time.
    """
    if not wait_until(session, done, PATIENCE_S):
        told = f"no answer within {PATIENCE_S:.0f} s"
        problem = session.problem
        raise OvsdbError(f"{told}: {problem}" if problem else f"{session.remotes}: {told}")


def wait_until(session: Session, done: Callable[[], bool], seconds: float | None) -> bool:
    """Wait for rows to be as wished.

    Args:
        session: Open.
        done: Looks at them.
        seconds: How long; None for ever.

    Returns:
        Whether they became so in time.
    """
    end = None if seconds is None else time.monotonic() + seconds
    session.receive()
    while not done():
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            return False
        poller = ovs.poller.Poller()
        session.wait(poller)
        if left is not None:
            poller.timer_wait(int(left * 1000) + 1)
        poller.block()
        session.receive()
        session.changes()
    return True
