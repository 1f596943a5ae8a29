# SPDX-License-Identifier: Apache-2.0
"""Edge: the kernel's IPsec tables and the events of both layers of the guard."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from ovn_ipsec.errors import EdgeError
from ovn_ipsec.model.observation import Known, Unknown

from ..guard.nft_events import NftEvents
from ..xfrm import messages
from ..xfrm.socket import XfrmEventSocket, XfrmSocket
from ..xfrm.values import XfrmPolicy, XfrmState

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelEvents:
    """What happened since the last call; a hint to look, not the truth."""

    guard_touched: bool = False
    """Something else may have changed a layer of the guard."""
    flushed: bool = False
    """Something else emptied the SPD or the SAD."""
    deleted: bool = False
    """Something else deleted a policy or an SA."""
    ended: tuple[XfrmState, ...] = ()
    """SAs that are gone, whoever deleted them, with what they came to."""


class KernelTables(Protocol):
    """What the controller needs of the kernel besides the layers of its guard."""

    def open(self) -> None:
        """Subscribe to events; where the kernel has none, only the audits find changes."""

    def close(self) -> None:
        """Release the sockets."""

    def filenos(self) -> list[int]:
        """Descriptors that are readable when something happened."""

    def drain(self) -> KernelEvents:
        """Read all waiting events, without blocking."""

    def dump(self) -> tuple[tuple[XfrmPolicy, ...], tuple[XfrmState, ...]]:
        """Read the SPD and the SAD.

        Raises:
            EdgeError: The kernel refused.
        """

    def delete_states(self, states: Iterable[XfrmState]) -> None:
        """Delete SAs.

        Raises:
            EdgeError: The kernel refused.
        """

    def delete_policies(self, policies: Iterable[XfrmPolicy]) -> None:
        """Delete policies; one that is already gone is not an error.

        Raises:
            EdgeError: The kernel refused.
        """

    def esp(self, versions: Iterable[int]) -> Known[bool] | Unknown:
        """Test whether this kernel can do ESP.

        Args:
            versions: IP versions, those of the local addresses.
        """


class NetlinkTables:
    """KernelTables over netlink."""

    def __init__(self) -> None:
        self._xfrm = XfrmSocket()
        self._xfrm_events = XfrmEventSocket()
        self._nft_events = NftEvents()

    def open(self) -> None:
        """Subscribe to events; where the kernel has none, only the audits find changes."""
        for events in (self._xfrm_events, self._nft_events):
            try:
                events.open()
            except (EdgeError, OSError) as error:
                _log.warning("kernel_events_missing", reason=str(error))

    def close(self) -> None:
        """Release the sockets."""
        self._xfrm.close()
        self._xfrm_events.close()
        self._nft_events.close()

    def filenos(self) -> list[int]:
        """Descriptors that are readable when something happened."""
        numbers = [self._xfrm_events.fileno(), self._nft_events.fileno()]
        return [number for number in numbers if number >= 0]

    def drain(self) -> KernelEvents:
        """Read all waiting events, without blocking."""
        found = self._xfrm_events.drain(own_ports=frozenset({self._xfrm.port_id}))
        return KernelEvents(
            guard_touched=self._nft_events.drain(),
            flushed=found.policies_flushed or found.sa_flushed,
            deleted=found.policy_deleted or found.sa_deleted,
            ended=found.ended,
        )

    def dump(self) -> tuple[tuple[XfrmPolicy, ...], tuple[XfrmState, ...]]:
        """Read the SPD and the SAD.

        Raises:
            EdgeError: The kernel refused.
        """
        return self._xfrm.dump_policies(), self._xfrm.dump_states()

    def delete_states(self, states: Iterable[XfrmState]) -> None:
        """Delete SAs.

        Raises:
            EdgeError: The kernel refused.
        """
        self._xfrm.send(messages.delete_state(state) for state in states)

    def delete_policies(self, policies: Iterable[XfrmPolicy]) -> None:
        """Delete policies; one that is already gone is not an error.

        Raises:
            EdgeError: The kernel refused.
        """
        requests = (messages.delete_policy(policy) for policy in policies)
        self._xfrm.send(requests, ignore=frozenset({errno.ENOENT}))

    def esp(self, versions: Iterable[int]) -> Known[bool] | Unknown:
        """Test whether this kernel can do ESP.

        Args:
            versions: IP versions, those of the local addresses.
        """
        return self._xfrm.esp_available(versions)
