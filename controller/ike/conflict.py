# SPDX-License-Identifier: Apache-2.0
"""Shell: when to leave IKE daemons alone: ovs-monitor-ipsec drives one, or two of them run."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from .choice import IkeChoice

_log = structlog.get_logger()

LOOK_S = 5.0


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
        self.look_at = float("-inf")

    def look(self, now: float) -> bool:
        """Check if it is time to. Returns whether an ovs-monitor-ipsec lives now."""
        if now >= self.look_at:
            self.look_at = now + LOOK_S
            pid = self._find()
            if pid is not None and self._pid is None:
                _log.error("ovs_monitor_ipsec_lives", pid=pid, next="stop openvswitch-ipsec here")
            elif pid is None and self._pid is not None:
                _log.info("ovs_monitor_ipsec_gone")
            self._pid = pid
        return self._pid is not None

    @property
    def problem(self) -> str:
        """The conflict in words; empty if there is none."""
        if self._pid is None:
            return self._choice.problem
        return (
            f"ovs-monitor-ipsec runs here as pid {self._pid} and drives the same IKE daemon:"
            " stop openvswitch-ipsec; until then the IKE daemon is left alone"
        )
