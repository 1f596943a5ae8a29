# SPDX-License-Identifier: Apache-2.0
"""Edge: both databases looked at again whenever they change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import ovs.poller

from ..clock import monotonic
from ..ovsdb.commands import Commands

REFRESH_S = 30.0
"""What is shown has an age, which grows while nothing changes."""
PAUSE_S = 1.0
"""Between two looks, however much changes."""
T = TypeVar("T")


def looks(databases: tuple[Commands, ...], look: Callable[[], T]) -> Iterator[tuple[T, str]]:
    """Look at once and after each change, for ever.

    Args:
        databases: Connected.
        look: Reads them.

    Yields:
        What was seen, and why it may be old; empty if it is not.
    """
    sessions = [one.session for one in databases]
    while True:
        lost = [one.problem or one.remotes for one in sessions if not one.connected]
        yield look(), "; ".join(lost)
        changed, began = False, monotonic()
        while (passed := monotonic() - began) < (PAUSE_S if changed else REFRESH_S):
            poller = ovs.poller.Poller()
            for session in sessions:
                session.wait(poller)
            poller.timer_wait(int(((PAUSE_S if changed else REFRESH_S) - passed) * 1000) + 1)
            poller.block()
            for session in sessions:
                changed = session.receive() or changed
                session.changes()


def pause(seconds: float) -> None:
    """Wait, where nothing tells of changes."""
    poller = ovs.poller.Poller()
    poller.timer_wait(int(seconds * 1000))
    poller.block()
