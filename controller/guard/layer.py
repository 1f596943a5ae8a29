# SPDX-License-Identifier: Apache-2.0
"""What the loop asks of each layer of the guard.

Edge (the interface only). Input: guard states. Output: what the kernel holds, and its counters.
Either layer holds alone; neither knows of the other.
"""

from typing import Protocol

from ovn_ipsec.model.observation import Known, Unknown

from ..plan.guard import GuardCounters, GuardObserved, GuardState


class GuardLayer(Protocol):
    """One layer; it opens what it needs at the first call, and only touches its own entries."""

    @property
    def name(self) -> str:
        """Short name for status and logs: ``nft`` or ``xfrm``."""

    def part_of(self, state: GuardState) -> GuardState:
        """Say what of a state this layer can hold.

        Args:
            state: a whole guard.

        Returns:
            What ``observe`` shows after ``state`` was applied: all of it, or all but the VNIs
            where the layer does not look into packets.
        """

    def available(self) -> Known[bool] | Unknown:
        """Ask whether this kernel can enforce the layer, leaving no trace.

        Returns:
            Known false when the kernel lacks it, Unknown when that cannot be told.
        """

    def observe(self) -> Known[GuardObserved] | Unknown:
        """Read what is in force.

        Returns:
            The state and its damage. A layer that somebody flushed has the state ``None``.
        """

    def apply(self, before: GuardState | None, after: GuardState | None) -> None:
        """Get from one state to another, touching only the difference.

        At no moment is a flow that both states deny let through, nor one that both allow denied.
        Entries that are there already, or gone already, are no error.

        Args:
            before: what is in force, sound.
            after: what shall be; ``None`` takes the layer away.

        Raises:
            EdgeError: the kernel refused; observe again before the next step.
        """

    def rebuild(self, after: GuardState) -> None:
        """Put the whole layer in place, whatever of it is there, without a gap.

        Args:
            after: what shall be in force.

        Raises:
            EdgeError: the kernel refused.
        """

    def counters(self) -> Known[GuardCounters] | Unknown:
        """Read the packet counters.

        Returns:
            The counters; what a layer cannot count is None.
        """

    def close(self) -> None:
        """Release sockets; what is in the kernel stays in force."""
