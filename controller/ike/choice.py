# SPDX-License-Identifier: Apache-2.0
"""Shell: which IKE daemon this chassis uses, as the operator says and as it is found."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from ovn_ipsec.model.ike import Ike, IkeSetting, IkesHere, choose

_log = structlog.get_logger()

LOOK_S = 5.0
NEVER = float("inf")


class IkeChoice:
    """The IKE daemon to use; with ``auto`` it is looked for again and again."""

    def __init__(self, find: Callable[[str], IkesHere]) -> None:
        """Start with nothing chosen.

        Args:
            find: Tells which IKE daemons this host has, by the URI of strongSwan's socket.
        """
        self._find = find
        self._wanted: IkeSetting | None = None
        self._last: Ike | None = None
        self.problem = ""
        """Why no IKE daemon may be touched; empty: the chosen one may."""
        self.look_at = NEVER
        """When look() has something to look for; never before it knows what is set."""

    @property
    def ike(self) -> Ike:
        """The chosen one."""
        return self._last or Ike.STRONGSWAN

    def look(self, wanted: IkeSetting, vici: str, now: float) -> bool:
        """Choose, if it is time to. Returns whether another one is chosen than before.

        Args:
            wanted: What is set.
            vici: URI of strongSwan's socket.
            now: Monotonic seconds.
        """
        if wanted is self._wanted and now < self.look_at:
            return False
        automatic = wanted is IkeSetting.AUTO
        self._wanted, self.look_at = wanted, now + LOOK_S if automatic else NEVER
        found = self._find(vici) if automatic else IkesHere()
        chosen = choose(wanted, found, self._last)
        if chosen.problem and chosen.problem != self.problem:
            _log.error("ike_daemon_unclear", reason=chosen.problem)
        elif self.problem and not chosen.problem:
            _log.info("ike_daemon_clear", daemon=chosen.ike.value)
        before, self._last, self.problem = self._last, chosen.ike, chosen.problem
        if before in (None, chosen.ike):
            return False
        _log.warning("ike_daemon_changes", before=before, daemon=chosen.ike.value)
        return True
