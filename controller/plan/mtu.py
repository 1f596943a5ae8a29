# SPDX-License-Identifier: Apache-2.0
"""Pure: how large packets of workloads may be over each pair of this chassis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ovn_ipsec.model.chassis import IpAddress, Pair
from ovn_ipsec.model.mtu import MTU_MIN, Interface, Wrapping, inner_mtu, larger, sizes_of
from ovn_ipsec.model.status import PairState, Room

from .agent import Agent
from .pair.facts import NOTHING_SEEN
from .pair.record import PairRecord

Ends = tuple[IpAddress, IpAddress]
"""A local and a remote address."""

_IDLE = frozenset({PairState.LINGERING, PairState.QUARANTINED})
"""Pairs whose packets do not count: nothing is sent over them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MtuSeen:
    """What the kernel and the local database said at the last look."""

    paths: Mapping[Ends, int] = field(default_factory=dict)
    """MTUs of paths; one that is missing is not known."""
    interfaces: tuple[Interface, ...] = ()
    """Of workloads on this host."""
    room: Room | None = None


def ends_of(record: PairRecord) -> Ends:
    """The path of a pair."""
    return record.pair.local, record.pair.remote


def inner_of(agent: Agent, record: PairRecord, paths: Mapping[Ends, int]) -> int | None:
    """Compute what a pair leaves to workloads: with ESP as soon as it is to be encrypted.

    Returns:
        Bytes of their largest IP packet; None where the path is not known.
    """
    path = paths.get(ends_of(record))
    return None if path is None else inner_mtu(path, _wrapping(agent, record))


def _wrapping(agent: Agent, record: PairRecord) -> Wrapping:
    pair = record.pair
    if record.state is PairState.CLEAR:
        return Wrapping(type=pair.type, version=pair.local.version)
    children = list(agent.seen.get(record.name, NOTHING_SEEN).children())
    suite = next((child.suite for child in children), "")
    in_udp = agent.policy.tuning.force_encapsulation
    return Wrapping(
        type=pair.type,
        version=pair.local.version,
        esp=sizes_of(suite, record.profile),
        in_udp=any(child.udp_encap for child in children) if children else in_udp,
    )


def room_of(
    agent: Agent, paths: Mapping[Ends, int], interfaces: tuple[Interface, ...]
) -> Room | None:
    """Sum a chassis up; None while no path of any pair is known.

    Args:
        agent: Its pairs.
        paths: MTUs of paths.
        interfaces: Of workloads.
    """
    best: dict[IpAddress, int] = {}
    for local, mtu in _known(agent.records.values(), paths):
        best[local] = max(best.get(local, MTU_MIN), mtu)
    inner = [left for _, left in inner_mtus(agent, paths)]
    if not inner:
        return None
    least = min(inner)
    return Room(underlay=min(best.values()), inner=least, larger=len(larger(interfaces, least)))


def inner_mtus(agent: Agent, paths: Mapping[Ends, int]) -> Iterator[tuple[Pair, int]]:
    """What each pair leaves, as far as it is known and the pair carries anything."""
    for record in agent.records.values():
        left = None if record.state in _IDLE else inner_of(agent, record, paths)
        if left is not None:
            yield record.pair, left


def _known(
    records: Iterable[PairRecord], paths: Mapping[Ends, int]
) -> Iterator[tuple[IpAddress, int]]:
    for record in records:
        ends = ends_of(record)
        if record.state not in _IDLE and ends in paths:
            yield record.pair.local, paths[ends]
