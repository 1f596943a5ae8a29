# SPDX-License-Identifier: Apache-2.0
"""Pure: what shows that the other end of a pair takes ESP or sends it, so that no time has to pass.

An end that has its SAs and its guard up sends clear text until it changes over, and ESP from then
on. Three things are known without asking it:

- Who has initiated the child that it sends over has read the answer to it, and the peer had that
  child in its kernel before it answered. So the peer takes ESP.
- An end changes over when both its children are up. So one that sends ESP takes it, too.
- An end that sends ESP sends no clear text any more. What it has sent before is on the way for
  HEARD_S at most.

What was there before the pair began to be wanted tells nothing: the peer may go on with it for a
while and only then hear that the pair was opened, and closed again.

Counters raise no events, so the SAs of a pair that changes over are read now and then (`look_at`),
and each end sends one empty datagram to the tunnel port once it has changed over, so that there is
something to hear where there is no traffic (``Decision.knock``).
"""

from __future__ import annotations

from ..connection import IN, OUT, installed
from .facts import ConnSeen
from .record import PairRecord

HEARD_S = 1.0
"""From ESP of the peer until clear text is not accepted any more."""
LOOK_S = 1.0
"""Until the first look whether ESP was heard; each further one is twice as late."""


def takes_esp(record: PairRecord, seen: ConnSeen) -> bool:
    """Tell whether the peer surely takes what we send over CHILD_SAs.

    Args:
        record: With the child that this end was the last to initiate, if it was.
        seen: The SAs.
    """
    out = [sa for sa in seen.sas for c in sa.children if installed(c) and c.name == OUT]
    return bool(record.attempts.tried and out) and all(sa.initiator for sa in out)


def hears_esp(record: PairRecord, seen: ConnSeen) -> bool:
    """Tell whether the peer has sent ESP since the pair began to be wanted."""
    return any(packets for packets in _heard(record, seen))


def look_at(record: PairRecord, seen: ConnSeen, now: float) -> float | None:
    """Tell when the counters of a pair are to be read again; None: there is nothing to hear.

    Args:
        record: Of a pair that is up and changes over.
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
    """Packets that have come over each child that the peer sends over."""
    before = record.known_before or frozenset()
    return [
        child.packets_in
        for sa in seen.sas
        for child in sa.children
        if sa.id not in before and installed(child) and child.name == IN
    ]
