# SPDX-License-Identifier: Apache-2.0
"""Pure: compares what the kernel holds with what the IKE daemon reports that it holds.

The kernel may have more than the daemon (which was killed; its SAs live on) or less (someone
flushed policies or states). The daemon shows neither, so a dump of both tables is compared with it.
What a killed daemon has left continues to protect a pair that is wanted; but it would block one
that is off for ever, because its policies accept no clear text.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ovn_ipsec.model.chassis import IpAddress, Pair

from ..xfrm.values import PolicyDirection, XfrmPolicy, XfrmState
from .connection import IN, OUT, ConnName
from .pair.facts import ConnSeen

_UDP, _ESP = 17, 50
PolicyKey = tuple[PolicyDirection, IpAddress, IpAddress, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """A pair whose kernel entries are looked for."""

    pair: Pair
    reqids: tuple[int, int]
    """Of the children out and in."""
    seen: ConnSeen
    off: bool = False
    """Policy wants it clear, and nothing of it should be left: it sends clear text by now."""

    @property
    def is_leftover(self) -> bool:
        """Whether whatever the kernel has of it belongs to nothing any more."""
        return self.off and not (self.seen.sas or self.seen.traps or self.seen.present)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the audit found."""

    missing: Mapping[ConnName, frozenset[str]] = field(default_factory=dict)
    """Children that the daemon considers up but that lack their policy or an SA."""
    orphaned: frozenset[ConnName] = frozenset()
    """Pairs that the kernel protects in both directions with SAs that the daemon does not know."""
    orphans: tuple[XfrmState, ...] = ()
    """Those SAs of pairs that are up again, or off: they can be deleted."""
    leftovers: tuple[XfrmPolicy, ...] = ()
    """Policies of ours for pairs that are off, which the daemon does not know."""
    foreign: frozenset[PolicyKey] = frozenset()
    """Outgoing traffic for which another program has ESP policies."""


@dataclass(frozen=True, slots=True)
class OwnReqids:
    """Reqids of ours: those that were given out, and those that stand for them."""

    given: Container[int]
    most: int
    """All up to here stand for others; 0: none. Libreswan's are; 0 is on the policy that it leaves
    where a CHILD_SA has ended."""

    def __contains__(self, reqid: object) -> bool:
        """Tell whether a reqid may be of ours."""
        small = isinstance(reqid, int) and self.most > 0 and 0 <= reqid <= self.most
        return small or reqid in self.given


def audit(
    tracked: Mapping[ConnName, Tracked],
    policies: Iterable[XfrmPolicy],
    states: Iterable[XfrmState],
    own_reqids: Container[int],
) -> Findings:
    """Compare the kernel's tables with what the daemon reports.

    Args:
        tracked: The pairs, with what the daemon reports of them.
        policies: The kernel's SPD.
        states: The kernel's SAD.
        own_reqids: Every reqid that was ever given to a connection of ours.
    """
    policies = tuple(policies)
    protected = frozenset(filter(None, map(policy_key, policies)))
    others = (p for p in policies if not any(t.reqid in own_reqids for t in p.templates))
    foreign = frozenset(
        key for key in map(policy_key, others) if key and key[0] is PolicyDirection.OUT
    )
    states = [state for state in states if state.proto == _ESP and state.reqid in own_reqids]
    spis = {(state.dst, state.spi) for state in states}
    flows = {(state.src, state.dst, state.reqid) for state in states}
    known: set[tuple[IpAddress, int]] = set()
    settled: set[int] = set()
    missing: dict[ConnName, frozenset[str]] = {}
    orphaned: set[ConnName] = set()
    for name, one in tracked.items():
        for child in one.seen.children():
            known |= {(one.pair.local, child.spi_in), (one.pair.remote, child.spi_out)}
        lacking = frozenset(_lacking(one, protected, spis))
        if lacking:
            missing[name] = lacking
        if one.seen.up:
            settled |= set(one.reqids)
        elif _carries(one, protected, flows):
            orphaned.add(name)
    off = [one for one in tracked.values() if one.is_leftover]
    settled |= {reqid for one in off for reqid in one.reqids}
    live = {reqid for one in tracked.values() if not one.is_leftover for reqid in one.reqids}
    leftovers = tuple(_leftovers(off, live, policies, own_reqids))
    owned = known | {
        (address, spi)
        for one in tracked.values()
        for sa in one.seen.sas
        for child in sa.children
        for address, spi in ((one.pair.local, child.spi_in), (one.pair.remote, child.spi_out))
    }
    orphans = tuple(
        state for state in states if state.reqid in settled and (state.dst, state.spi) not in owned
    )
    return Findings(
        missing=missing,
        orphaned=frozenset(orphaned),
        orphans=orphans,
        leftovers=leftovers,
        foreign=foreign,
    )


def is_protected(foreign: frozenset[PolicyKey], pair: Pair) -> bool:
    """Whether another program's policies encrypt what a pair sends, by ``Findings.foreign``."""
    return pair_keys(pair)[OUT] in foreign


def _leftovers(
    off: Iterable[Tracked],
    live: Container[int],
    policies: Iterable[XfrmPolicy],
    own_reqids: Container[int],
) -> Iterator[XfrmPolicy]:
    """Find leftovers by reqid, and by flow, since the chassis may have had another name then.

    Two pairs of two tunnel types may share a flow: what the other one has is left alone.
    """
    keys = {key for one in off for key in pair_keys(one.pair).values()}
    reqids = {reqid for one in off for reqid in one.reqids}
    for policy in policies:
        used = {template.reqid for template in policy.templates}
        ours = any(one in own_reqids and one not in live for one in used)
        if used & reqids or (policy_key(policy) in keys and ours):
            yield policy


def policy_key(policy: XfrmPolicy) -> PolicyKey | None:
    """Direction, ends and destination port of a policy that protects tunnel traffic with ESP.

    Args:
        policy: None is returned for any other.
    """
    selector = policy.selector
    esp = any(template.proto == _ESP for template in policy.templates)
    if not esp or selector.proto != _UDP or selector.dport_mask != 0xFFFF:
        return None
    ends = (selector.src, selector.dst)
    if any(network.prefixlen != network.max_prefixlen for network in ends):
        return None
    if policy.direction not in (PolicyDirection.IN, PolicyDirection.OUT):
        return None
    return (
        policy.direction,
        selector.src.network_address,
        selector.dst.network_address,
        selector.dport,
    )


def pair_keys(pair: Pair) -> dict[str, PolicyKey]:
    """The policy that matters for each child of a pair; its reverse half carries nothing."""
    return {
        OUT: (PolicyDirection.OUT, pair.local, pair.remote, pair.out_port),
        IN: (PolicyDirection.IN, pair.remote, pair.local, pair.in_port),
    }


def _lacking(
    one: Tracked, protected: frozenset[PolicyKey], spis: set[tuple[IpAddress, int]]
) -> Iterable[str]:
    keys = pair_keys(one.pair)
    newest = {child.name: child for child in one.seen.children()}
    for name, child in newest.items():
        inbound = (one.pair.local, child.spi_in) in spis
        outbound = (one.pair.remote, child.spi_out) in spis
        if keys[name] not in protected or not inbound or not outbound:
            yield name


def _carries(
    one: Tracked,
    protected: frozenset[PolicyKey],
    flows: set[tuple[IpAddress, IpAddress, int]],
) -> bool:
    pair, (reqid_out, reqid_in) = one.pair, one.reqids
    return (
        set(pair_keys(pair).values()) <= protected
        and (pair.local, pair.remote, reqid_out) in flows
        and (pair.remote, pair.local, reqid_in) in flows
    )
