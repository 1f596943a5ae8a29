# SPDX-License-Identifier: Apache-2.0
"""Shell: asks from time to time how large packets may be, and remembers what was said.

A look asks the kernel once for each path, which takes 6 µs, and goes through the interfaces of the
integration bridge. It is due every minute, and a moment after the pairs of the chassis have
changed; in any other pass nothing happens here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import structlog

from ovn_ipsec.model.mtu import Interface, larger
from ovn_ipsec.model.status import PairCounts, Room

from .plan.agent import Agent
from .plan.mtu import Ends, MtuSeen, ends_of, room_of

_log = structlog.get_logger()

LOOK_S = 60.0
"""Between two looks while the pairs stay as they are. The kernel keeps what a router has said for
ten minutes."""
SETTLE_S = 2.0
"""After a change of pairs, since others may follow."""
NAMED = 3
"""Interfaces that the log names."""

AskPaths = Callable[[Iterable[Ends]], Mapping[Ends, int]]


class MtuWatch:
    """What is known of MTUs on this host."""

    def __init__(self, ask: AskPaths) -> None:
        """Store how to ask; nothing is asked yet."""
        self._ask = ask
        self._due = float("-inf")
        self._counts: PairCounts | None = None
        self.seen = MtuSeen()

    def hurry(self, now: float) -> None:
        """Look at the next pass."""
        self._due = now

    def wake_at(self) -> float:
        """When the next look is due, monotonic seconds."""
        return self._due

    def look(
        self, agent: Agent, now: float, interfaces: Callable[[], tuple[Interface, ...] | None]
    ) -> None:
        """Look, if it is time.

        Args:
            agent: Whose pairs count.
            now: Monotonic seconds.
            interfaces: Reads the interfaces of workloads; None: they cannot be read, and those
                that were last seen stay.
        """
        counts = agent.pair_counts()
        if counts != self._counts:
            self._counts = counts
            self._due = min(self._due, now + SETTLE_S)
        if now < self._due:
            return
        self._due = now + LOOK_S
        read = interfaces()
        found = self.seen.interfaces if read is None else read
        paths = self._ask({ends_of(record) for record in agent.records.values()})
        room = room_of(agent, paths, found)
        if room != self.seen.room:
            _tell(room, found)
        self.seen = MtuSeen(paths=paths, interfaces=found, room=room)


def _tell(room: Room | None, interfaces: tuple[Interface, ...]) -> None:
    if room is None or not room.larger:
        return
    named = sorted(larger(interfaces, room.inner), key=lambda one: (-one.mtu, one.name))[:NAMED]
    _log.warning(
        "interfaces_too_large",
        left=room.inner,
        number=room.larger,
        interfaces=[f"{one.name} {one.mtu}" for one in named],
    )
