# SPDX-License-Identifier: Apache-2.0
"""Pure: for which chassis the cluster's secret is used directly as the key.

A stock ovs-monitor-ipsec cannot use it in any other way. The operator names these chassis; one that
runs our controller is never among them, whatever he says: its pairs have keys of their own.
"""

from __future__ import annotations

from collections.abc import Callable

from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.schema.open_vswitch import PSK_PLAIN


class PlainPeers:
    """The chassis that were named, without those that have ever reported as ours do."""

    def __init__(self) -> None:
        self.names: frozenset[ChassisName] = frozenset()
        """Towards whom the secret is used as it is."""
        self._asked: frozenset[ChassisName] = frozenset()
        self._managed: frozenset[ChassisName] = frozenset()

    def update(self, asked: frozenset[ChassisName], reports: Callable[[str], bool] | None) -> bool:
        """Take in what is asked for and who reports.

        A report that was seen once counts for good: it goes with every restart of ovn-controller.

        Args:
            asked: Who is named.
            reports: Whether a chassis reports; None: not known now, so that none is added.

        Returns:
            Whether the names are others now.
        """
        before, self._asked = self.names, asked
        if reports is None:
            self.names &= asked
        else:
            self._managed |= frozenset(name for name in asked if reports(name))
            self.names = asked - self._managed
        return self.names != before

    @property
    def problem(self) -> str:
        """Who was named in vain; empty: nobody."""
        vain = sorted(self._asked & self._managed)
        if not vain:
            return ""
        return f"{PSK_PLAIN} names {', '.join(vain)}, with a controller of ours: no effect there"
