# SPDX-License-Identifier: Apache-2.0
"""Pure: evidence that the peer of a pair accepts or sends ESP, so that no fixed wait is needed.

An end that has its SAs and its guard up sends clear text until it switches to ESP. Three things are
known without asking the peer:

- An end that has initiated the child that it sends over has read the answer, and the peer had that
  child in its kernel before it answered. So the peer accepts ESP.
- An end switches once both its children are up. So an end that sends ESP also accepts it.
- An end that sends ESP no longer sends clear text. What it sent before arrives within HEARD_S.

SAs from before encryption of the pair was wanted are no evidence: the peer may go on using them for
a while, and only then learn that the pair was opened, and closed again.

Counters raise no events, so the SAs of a pair that is switching are read from time to time
(`look_at`), and each end sends one empty datagram to the tunnel port once it has switched, so that
there is something to hear even without traffic (``Decision.knock``).
"""

from __future__ import annotations

from ..connection import IN, OUT, installed
from .facts import ConnSeen
from .record import PairRecord

HEARD_S = 1.0
"""From the peer's first ESP until its clear text is no longer accepted."""
LOOK_S = 0.1
"""Until ESP is first looked for; each further look comes twice as late, so that a peer that stays
silent costs seven looks until its time is over (``SWITCH_IN_S``)."""


def takes_esp(record: PairRecord, seen: ConnSeen) -> bool:
    """Tell whether the peer certainly accepts what we send over CHILD_SAs.

    Args:
        record: It says which child this end was the last to initiate, if any.
        seen: The SAs.
    """
    out = [sa for sa in seen.sas for c in sa.children if installed(c) and c.name == OUT]
    return bool(record.attempts.tried and out) and all(sa.initiator for sa in out)


def hears_esp(record: PairRecord, seen: ConnSeen) -> bool:
    """Tell whether the peer has sent ESP since encryption of the pair was first wanted."""
    return any(packets for packets in _heard(record, seen))


def look_at(record: PairRecord, seen: ConnSeen, now: float) -> float | None:
    """Tell when to read the counters of a pair again; None if there is nothing to hear.

    Args:
        record: Of a pair that is up and is switching to ESP.
        seen: The SAs.
        now: Monotonic seconds.
    """
    counts = _heard(record, seen)
    if record.up_at is None or not counts or any(counts):
        return None
    if record.look_at is not None and now < record.look_at:
        return record.look_at
    return now + max(LOOK_S, now - record.up_at)


def _heard(record: PairRecord, seen: ConnSeen) -> list[int]:
    """Packets received over each child that the peer sends over."""
    before = record.known_before or frozenset()
    return [
        child.packets_in
        for sa in seen.sas
        for child in sa.children
        if sa.id not in before and installed(child) and child.name == IN
    ]
