# SPDX-License-Identifier: Apache-2.0
"""Edge: what a daemon waits for, said once in the log, and again when it is something else."""

from __future__ import annotations

import structlog

from .model.wait import Wait

PATIENCE_S = 5.0
"""So long an answer may be on its way before the log says that it has not come."""
_log = structlog.get_logger()


class WaitLog:
    """What the log has said."""

    def __init__(self) -> None:
        self._wait: Wait | None = None
        self._due = float("inf")
        """When the log is to say it."""
        self._said = ""

    def note(self, wait: Wait | None, now: float) -> None:
        """Take in what is waited for, and say it if it is new and time to.

        Args:
            wait: None: nothing.
            now: Monotonic seconds.
        """
        if wait != self._wait:
            self._wait = wait
            if wait is None or wait.told:
                self._due = float("inf")
            else:
                self._due = now if wait.known else now + PATIENCE_S
        if wait is None:
            if self._said:
                _log.info("waiting_over", reason=self._said)
            self._said = ""
        elif now >= self._due:
            self._due = float("inf")
            if wait.reason != self._said:
                _log.info("waiting", reason=wait.reason)
            self._said = wait.reason

    def wake_at(self) -> float:
        """When there is something to say, monotonic seconds; infinity: nothing."""
        return self._due
