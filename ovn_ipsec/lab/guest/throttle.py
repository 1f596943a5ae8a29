# SPDX-License-Identifier: Apache-2.0
"""A slower machine: a process that is stopped for a part of every moment.

Edge (signals). For the guest, all of whose processors are threads of one process: its clock goes
on while it stands still, as on a machine that has less time for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

MOMENT_S = 0.02
"""Short against every time limit, and long against a turn of the scheduler."""
FULL = 100
"""Per cent: not throttled at all."""


@contextlib.contextmanager
def throttled(pid: int, percent: int) -> Iterator[None]:
    """Let a process run for a part of the time, for the length of a block.

    Args:
        pid: The process, of this user; it may end meanwhile if its parent has not waited for it.
        percent: How much of each moment it may run, 1 to 100.
    """
    if percent >= FULL:
        yield
        return
    ending = threading.Event()
    runs_s = MOMENT_S * percent / FULL

    def work() -> None:
        while not ending.wait(runs_s):
            os.kill(pid, signal.SIGSTOP)
            ending.wait(MOMENT_S - runs_s)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=work, name="throttle", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
