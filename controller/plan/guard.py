# SPDX-License-Identifier: Apache-2.0
"""What the guard denies and what it lets pass, as values.

Pure. Input: two guard states. Output: the difference between them.

The guard denies clear UDP to the tunnel ports by default and has one set of flows that may be
clear. A pair has two flows, one in each direction, each with its own destination port: they are
separate because a switching pair stops sending clear text before it stops accepting it.

A port that only a peer names is denied only towards that peer, so that what one chassis writes
does not affect what else this host sends.

The guard also knows the VNIs of logical networks that must never be clear. They overrule the set of
flows: the first packet of such a network must not leave in clear before policy closes its pair.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

from ovn_ipsec.model.chassis import DEFAULT_PORT, IpAddress
from ovn_ipsec.model.policy import Phase

ALWAYS = frozenset(DEFAULT_PORT.values())
"""UDP ports that every guard denies, whatever the rows say: 6081 and 4789."""

EVERYWHERE: frozenset[IpAddress] = frozenset({IPv4Address("0.0.0.0"), IPv6Address("::")})  # noqa: S104
"""As local addresses: every address of this host."""


class Direction(StrEnum):
    """The direction of a packet, seen from this chassis."""

    OUT = "out"
    IN = "in"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearFlow:
    """One direction of a pair."""

    direction: Direction
    local: IpAddress
    remote: IpAddress
    port: int
    """UDP destination port: the remote's for outgoing packets, ours for incoming ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearPair:
    """A local and a remote encap whose tunnel traffic may be clear."""

    local: IpAddress
    remote: IpAddress
    out_port: int
    """UDP destination port of outgoing packets."""
    in_port: int
    """UDP destination port of incoming packets."""

    def flows(self) -> tuple[ClearFlow, ClearFlow]:
        """Split the pair into its directions.

        Returns:
            Out, then in.
        """
        return (
            ClearFlow(
                direction=Direction.OUT, local=self.local, remote=self.remote, port=self.out_port
            ),
            ClearFlow(
                direction=Direction.IN, local=self.local, remote=self.remote, port=self.in_port
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Default deny for one local encap address and one port, both directions."""

    local: IpAddress
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerPort:
    """Packets to a port that only one peer has named: denied towards that peer."""

    local: IpAddress
    remote: IpAddress
    port: int
    """UDP destination port; never one of GuardState.ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardState:
    """The whole guard; no guard at all is ``None``."""

    ports: frozenset[int]
    """UDP destination ports of tunnel traffic, to and from any address."""
    local: frozenset[IpAddress]
    """The encap addresses of this chassis; an unspecified one stands for its whole family."""
    may_clear: frozenset[ClearFlow]
    """The flows that may be clear."""
    peer_ports: frozenset[PeerPort] = frozenset()
    vnis: frozenset[int] = frozenset()
    """Datapath_Binding.tunnel_key of logical networks that must never be clear, not even on flows
    that may be; 1 to 2**24 - 1. A layer that cannot inspect packets omits them: GuardLayer.part_of.
    """

    def denials(self) -> frozenset[Denial]:
        """Spell out the default deny.

        Returns:
            One denial for each local address and port.
        """
        return frozenset(
            Denial(local=local, port=port) for local in self.local for port in self.ports
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardObserved:
    """What a layer holds in the kernel now."""

    state: GuardState | None
    """The state that is in force; ``None`` if the layer holds nothing of ours."""
    damage: tuple[str, ...] = ()
    """What is missing or foreign in our entries, for people; if any, ``rebuild`` is needed."""

    @property
    def sound(self) -> bool:
        """Whether the layer holds all of the state and nothing else."""
        return not self.damage


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardCounters:
    """Packets since the layer was built; a decrease means that it was rebuilt."""

    out_denied: int
    out_clear: int | None
    """Left in clear because the pair is in the set; None: this layer does not count them."""
    in_denied: int
    in_clear: int | None
    """Arrived in clear because the pair is in the set; None as above."""
    epoch: str = field(default="", compare=False)
    """What counted, in this boot of the machine: another text means that it began at nought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardDifference:
    """What to add and to remove to get from one guard to another."""

    add_ports: frozenset[int]
    drop_ports: frozenset[int]
    add_local: frozenset[IpAddress]
    drop_local: frozenset[IpAddress]
    add_denials: frozenset[Denial]
    drop_denials: frozenset[Denial]
    add_flows: frozenset[ClearFlow]
    drop_flows: frozenset[ClearFlow]
    add_peer_ports: frozenset[PeerPort]
    drop_peer_ports: frozenset[PeerPort]
    add_vnis: frozenset[int]
    drop_vnis: frozenset[int]

    @property
    def is_empty(self) -> bool:
        """Whether both guards enforce the same."""
        return not (
            self.add_ports
            or self.drop_ports
            or self.add_local
            or self.drop_local
            or self.add_flows
            or self.drop_flows
            or self.add_peer_ports
            or self.drop_peer_ports
            or self.add_vnis
            or self.drop_vnis
        )


DENY_ALL = GuardState(ports=ALWAYS, local=EVERYWHERE, may_clear=frozenset())
"""If it is not known what must be denied: all tunnel traffic of this host."""

NO_GUARD = GuardState(ports=frozenset(), local=frozenset(), may_clear=frozenset())
"""Stands for ``None`` when a difference is computed."""


def difference(before: GuardState | None, after: GuardState | None) -> GuardDifference:
    """Compare two guards.

    Args:
        before: what is in force.
        after: what should be.

    Returns:
        The additions and removals, disjoint.
    """
    old = before or NO_GUARD
    new = after or NO_GUARD
    old_denials, new_denials = old.denials(), new.denials()
    return GuardDifference(
        add_ports=new.ports - old.ports,
        drop_ports=old.ports - new.ports,
        add_local=new.local - old.local,
        drop_local=old.local - new.local,
        add_denials=new_denials - old_denials,
        drop_denials=old_denials - new_denials,
        add_flows=new.may_clear - old.may_clear,
        drop_flows=old.may_clear - new.may_clear,
        add_peer_ports=new.peer_ports - old.peer_ports,
        drop_peer_ports=old.peer_ports - new.peer_ports,
        add_vnis=new.vnis - old.vnis,
        drop_vnis=old.vnis - new.vnis,
    )


def narrowed(
    standing: GuardState | None, wanted: GuardState | None, phase: Phase
) -> GuardState | None:
    """What of a guard can be applied while another program drives the IKE daemon: nothing opens.

    A flow that may be clear stays clear although an SA is up, so that both ends can switch. What
    another program encrypts must not be opened that way.

    Args:
        standing: What is in force; None: nothing.
        wanted: What would be in force if the daemon were ours.
        phase: Of the policy: only under enforce is a guard installed if there is none.
    """
    if standing is None and phase is not Phase.ENFORCE:
        return None
    if wanted is None:
        return standing
    clear = frozenset[ClearFlow]() if standing is None else standing.may_clear & wanted.may_clear
    return replace(wanted, may_clear=clear)


def flows_of(pairs: Iterable[ClearPair]) -> frozenset[ClearFlow]:
    """Split pairs into flows.

    Args:
        pairs: any number of pairs.

    Returns:
        The flows of all of them.
    """
    return frozenset(flow for pair in pairs for flow in pair.flows())
