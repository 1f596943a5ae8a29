# SPDX-License-Identifier: Apache-2.0
"""Pure: what must hold after every single step: a closed pair sends nothing in clear."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ovn_ipsec.model.policy import ClusterPolicy, Mode, Phase

from .connection import ConnName
from .guard import EVERYWHERE, GuardState, PeerPort
from .pair.clear import flows_of
from .pair.facts import NOTHING_SEEN, ConnSeen
from .pair.record import PairRecord

MAX_VIOLATIONS = 10
"""Further ones are not named: a single one is already a bug."""


def never_clear(
    records: Iterable[PairRecord],
    guard: GuardState | None,
    seen: Mapping[ConnName, ConnSeen],
    policy: ClusterPolicy,
    now: float,
) -> tuple[str, ...]:
    """Name the pairs whose traffic could be clear and must not be.

    A pair is bound if it is closed, in quarantine, or required under enforce; one that was clear
    when its class changed has some time until then. It is held if the guard is in force for it, or
    if SAs protect it in both directions. Relax and off bind nothing. While a pair is switching,
    incoming clear text is still accepted; none leaves.

    Args:
        records: The pairs, as they were last decided.
        guard: What is in force in the kernel.
        seen: What the IKE daemon and the kernel hold.
        policy: The policy that the records were decided under.
        now: Monotonic seconds.

    Returns:
        One sentence for each violation, at most MAX_VIOLATIONS; none if everything is well.
    """
    if policy.phase in (Phase.OFF, Phase.RELAX):
        return ()
    found: list[str] = []
    for record in records:
        if not _is_bound(record, policy, now) or denies(guard, record, now):
            continue
        one = seen.get(record.name, NOTHING_SEEN)
        if one.up or one.orphaned:
            continue
        found.append(f"{record.name}: {record.state.value}, neither SAs nor the guard hold it")
        if len(found) == MAX_VIOLATIONS:
            break
    return tuple(found)


def _is_bound(record: PairRecord, policy: ClusterPolicy, now: float) -> bool:
    if record.closed or record.quarantined:
        return True
    late = record.closes_at is not None and now < record.closes_at
    return policy.phase is Phase.ENFORCE and record.mode is Mode.REQUIRE and not late


def denies(guard: GuardState | None, record: PairRecord, now: float) -> bool:
    """Whether a guard denies a pair's clear text: outgoing, and incoming once that is due."""
    if guard is None:
        return False
    pair = record.pair
    out, into = flows_of(record)
    toward = PeerPort(local=pair.local, remote=pair.remote, port=pair.out_port)
    here = pair.local in guard.local or bool(guard.local & EVERYWHERE)
    leaves = pair.out_port in guard.ports or toward in guard.peer_ports
    arrives = into in guard.may_clear and now >= record.accept_until
    covered = here and leaves and pair.in_port in guard.ports
    return covered and out not in guard.may_clear and not arrives
