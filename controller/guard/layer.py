# SPDX-License-Identifier: Apache-2.0
"""The interface of each layer of the guard.

Edge (the interface only). Input: guard states. Output: what the kernel holds, and its counters.
Either layer suffices alone; neither knows of the other.
"""

from typing import Protocol

from ovn_ipsec.model.observation import Known, Unknown

from ..plan.guard import GuardCounters, GuardObserved, GuardState


class GuardLayer(Protocol):
    """One layer; it opens what it needs at the first call, and touches only its own entries."""

    @property
    def name(self) -> str:
        """Short name for status and logs: ``nft`` or ``xfrm``."""

    def part_of(self, state: GuardState) -> GuardState:
        """Say which part of a state this layer can hold.

        Args:
            state: a whole guard.

        Returns:
            What ``observe`` shows after ``state`` was applied: all of it, or all but the VNIs
            if the layer does not inspect packets.
        """

    def available(self) -> Known[bool] | Unknown:
        """Check whether this kernel can enforce the layer, leaving no trace.

        Returns:
            Known false if the kernel lacks it, Unknown if that cannot be determined.
        """

    def observe(self) -> Known[GuardObserved] | Unknown:
        """Read what is in force.

        Returns:
            The state and its damage. A layer that someone has flushed has the state ``None``.
        """

    def apply(self, before: GuardState | None, after: GuardState | None) -> None:
        """Go from one state to another, touching only the difference.

        At no moment is a flow that both states deny let through, nor one that both allow denied.
        Entries that exist already, or are already gone, are not an error.

        Args:
            before: what is in force, undamaged.
            after: what should be in force; ``None`` removes the layer.

        Raises:
            EdgeError: the kernel refused; observe again before the next step.
        """

    def rebuild(self, after: GuardState) -> None:
        """Install the whole layer, whatever exists of it, without a gap.

        Args:
            after: what should be in force.

        Raises:
            EdgeError: the kernel refused.
        """

    def counters(self) -> Known[GuardCounters] | Unknown:
        """Read the packet counters.

        Returns:
            The counters; None for what a layer cannot count.
        """

    def close(self) -> None:
        """Release sockets; what is in the kernel stays in force."""
