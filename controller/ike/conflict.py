# SPDX-License-Identifier: Apache-2.0
"""Shell: whether ovs-monitor-ipsec runs, and when to leave IKE daemons alone.

That is when it drives one that we should drive, or when two of them run. With ``delegate`` it has
to run, and nobody else drives anything.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from .choice import IkeChoice

_log = structlog.get_logger()

LOOK_S = 5.0
MISSING = (
    "ovs-monitor-ipsec does not run here: start openvswitch-ipsec; until then nothing new is"
    " encrypted"
)


class ConflictWatch:
    """Whether an ovs-monitor-ipsec lives on this host, or nobody knows which daemon is ours."""

    def __init__(self, find: Callable[[], int | None], choice: IkeChoice) -> None:
        """Start without having checked.

        Args:
            find: Gives the process id of one that lives.
            choice: Of the IKE daemon.
        """
        self._find = find
        self._choice = choice
        self._pid: int | None = None
        self._wanted = False
        self.look_at = float("-inf")
        self.lack = ""
        """That it does not run although it should, in words; empty: it runs, or should not."""

    def look(self, now: float, *, wanted: bool = False) -> bool:
        """Check if it is time to. Returns whether an ovs-monitor-ipsec lives now.

        Args:
            now: Monotonic seconds.
            wanted: Whether it is to drive the IKE daemon of this chassis.
        """
        if now >= self.look_at or wanted is not self._wanted:
            self.look_at = now + LOOK_S
            before, self._pid = (self._pid, self._wanted), self._find()
            self._wanted = wanted
            self._tell(*before)
        return self._pid is not None

    def _tell(self, pid: int | None, was_wanted: bool) -> None:
        """Log what is other than before, and what is wrong with it."""
        lives, changed = self._pid is not None, (self._pid is None) is not (pid is None)
        before, self.lack = self.lack, MISSING if self._wanted and not lives else ""
        if self.lack and not before:
            _log.error("ovs_monitor_ipsec_missing", next="start openvswitch-ipsec here")
        elif before and lives:
            _log.info("ovs_monitor_ipsec_found", pid=self._pid)
        elif lives and not self._wanted and (changed or was_wanted):
            _log.error("ovs_monitor_ipsec_lives", pid=self._pid, next="stop openvswitch-ipsec here")
        elif changed and not lives:
            _log.info("ovs_monitor_ipsec_gone")

    @property
    def problem(self) -> str:
        """The conflict in words; empty if there is none."""
        if self._pid is None or self._wanted:
            return self._choice.problem
        return (
            f"ovs-monitor-ipsec runs here as pid {self._pid} and drives the same IKE daemon:"
            " stop openvswitch-ipsec; until then the IKE daemon is left alone"
        )
