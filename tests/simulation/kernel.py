# SPDX-License-Identifier: Apache-2.0
"""The kernel of one simulated host: policies, SAs and the two layers of the guard, and packets.

What a packet meets is modelled as facts/ike.md and controller/guard/xfrm.py tell it: an allow
policy of the guard is stronger than any policy of the IKE daemon, its block policy is weaker, a
trap without an SA drops, and nftables judges what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_network

from controller.plan.guard import ClearFlow, Direction, GuardState, PeerPort
from controller.xfrm.values import (
    Action,
    Mode,
    PolicyDirection,
    Selector,
    Template,
    XfrmPolicy,
    XfrmState,
)
from ovn_ipsec.model.chassis import IpAddress

_UDP, _ESP, _EXACT = 17, 50, 0xFFFF
_PRIORITY = 366_911

Flow = tuple[Direction, IpAddress, IpAddress, int]
"""Direction, local and remote address, UDP destination port."""


class Sent(StrEnum):
    """What becomes of a packet that a tunnel of this host sends."""

    CLEAR = "clear"
    ESP = "ESP"
    WAITS = "dropped by a trap"
    BLOCKED = "dropped by the guard"
    BROKEN = "dropped for lack of an SA"
    NOTHING = "nothing: there is no tunnel"


@dataclass(frozen=True, slots=True)
class Packet:
    """What leaves: clear, ESP with an SPI, or nothing."""

    sent: Sent
    spi: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A policy of the IKE daemon."""

    reqid: int
    spi: int
    """0: a trap."""


def denies(state: GuardState | None, flow: Flow) -> bool:
    """Whether a layer of the guard that is in this state drops clear packets of a flow."""
    if state is None:
        return False
    direction, local, remote, port = flow
    if local not in state.local and not any(
        one.is_unspecified and one.version == local.version for one in state.local
    ):
        return False
    named = PeerPort(local=local, remote=remote, port=port)
    if port not in state.ports and not (direction is Direction.OUT and named in state.peer_ports):
        return False
    return not allows(state, flow)


def allows(state: GuardState | None, flow: Flow) -> bool:
    """Whether a layer names a flow as one that may be clear."""
    if state is None or not state.may_clear:
        return False
    direction, local, remote, port = flow
    return ClearFlow(direction=direction, local=local, remote=remote, port=port) in state.may_clear


@dataclass(slots=True)
class Kernel:
    """Tables of one host; what changes them calls `changed`."""

    changed: Callable[[], None]
    spd: dict[Flow, Entry] = field(default_factory=dict)
    sad: dict[tuple[IpAddress, int], XfrmState] = field(default_factory=dict)
    """By destination and SPI, oldest first."""
    layers: dict[str, GuardState | None] = field(
        default_factory=lambda: {"nft": None, "xfrm": None}
    )
    heard: dict[int, int] = field(default_factory=dict)
    """Packets that have come over SAs, by SPI; with traffic the first of them stands for all."""
    esp: bool = True
    listeners: list[Callable[[str], None]] = field(default_factory=list)

    def tell(self, what: str) -> None:
        """Let who listens know of what somebody else has done: guard, flushed, deleted."""
        for listener in list(self.listeners):
            listener(what)

    # --- what the IKE daemon does ----------------------------------------------------------------

    def put_policy(self, flow: Flow, entry: Entry) -> None:
        """Add or replace a policy."""
        if self.spd.get(flow) != entry:
            self.spd[flow] = entry
            self.changed()

    def drop_policy(self, flow: Flow) -> None:
        """Delete a policy."""
        if self.spd.pop(flow, None) is not None:
            self.tell("deleted")
            self.changed()

    def put_state(self, src: IpAddress, dst: IpAddress, spi: int, reqid: int) -> None:
        """Add an SA."""
        self.sad[dst, spi] = XfrmState(
            src=src, dst=dst, spi=spi, proto=_ESP, reqid=reqid, mode=Mode.TRANSPORT
        )
        self.changed()

    def drop_state(self, dst: IpAddress, spi: int) -> None:
        """Delete an SA."""
        if self.sad.pop((dst, spi), None) is not None:
            self.tell("deleted")
            self.changed()

    # --- what others do --------------------------------------------------------------------------

    def flush_nft(self) -> None:
        """Flush the whole ruleset, as `nft flush ruleset`."""
        self.layers["nft"] = None
        self.tell("guard")
        self.changed()

    def flush_xfrm(self) -> None:
        """Flush policies and states, as Libreswan's unit does."""
        self.layers["xfrm"] = None
        self.spd.clear()
        self.sad.clear()
        self.tell("flushed")
        self.changed()

    def flush_policies(self) -> None:
        """Flush the policies alone, as `ip xfrm policy flush`."""
        self.layers["xfrm"] = None
        self.spd.clear()
        self.tell("flushed")
        self.changed()

    def flush_states(self) -> None:
        """Flush the SAs alone."""
        self.sad.clear()
        self.tell("flushed")
        self.changed()

    def reboot(self) -> None:
        """Lose everything."""
        self.spd.clear()
        self.sad.clear()
        self.layers = {"nft": None, "xfrm": None}
        self.listeners.clear()
        self.changed()

    # --- packets ---------------------------------------------------------------------------------

    def send(self, local: IpAddress, remote: IpAddress, port: int) -> Packet:
        """What becomes of a tunnel's packet that leaves now."""
        flow = (Direction.OUT, local, remote, port)
        guard = self.layers["xfrm"]
        entry = self.spd.get(flow)
        if not allows(guard, flow):
            if entry is not None:
                return self._protect(entry, remote)
            if denies(guard, flow):
                return Packet(Sent.BLOCKED)
        return Packet(Sent.BLOCKED if denies(self.layers["nft"], flow) else Sent.CLEAR)

    def _protect(self, entry: Entry, remote: IpAddress) -> Packet:
        if entry.spi:
            found = (remote, entry.spi) in self.sad
            return Packet(Sent.ESP, entry.spi) if found else Packet(Sent.BROKEN)
        spis = [
            s.spi for (dst, _), s in self.sad.items() if dst == remote and s.reqid == entry.reqid
        ]
        return Packet(Sent.ESP, spis[-1]) if spis else Packet(Sent.WAITS)

    def receive(self, packet: Packet, local: IpAddress, remote: IpAddress, port: int) -> bool:
        """Whether a packet that arrives now reaches the tunnel."""
        flow = (Direction.IN, local, remote, port)
        guard, entry = self.layers["xfrm"], self.spd.get(flow)
        state = self.sad.get((local, packet.spi)) if packet.sent is Sent.ESP else None
        if packet.sent is Sent.CLEAR:
            if denies(self.layers["nft"], flow):
                return False
        elif state is None:
            return False
        if allows(guard, flow):
            return True
        if entry is not None:
            return state is not None and state.reqid == entry.reqid
        return not denies(guard, flow)

    # --- what the controller reads ---------------------------------------------------------------

    def policies(self) -> tuple[XfrmPolicy, ...]:
        """The SPD, without the guard."""
        return tuple(_policy(flow, entry) for flow, entry in self.spd.items())

    def states(self) -> tuple[XfrmState, ...]:
        """The SAD."""
        return tuple(self.sad.values())

    def delete(self, states: Iterable[XfrmState]) -> None:
        """Delete SAs."""
        for state in states:
            if self.sad.pop((state.dst, state.spi), None) is not None:
                self.changed()

    def delete_policies(self, policies: Iterable[XfrmPolicy]) -> None:
        """Delete policies."""
        for policy in policies:
            src, dst = (n.network_address for n in (policy.selector.src, policy.selector.dst))
            out = policy.direction is PolicyDirection.OUT
            direction, (local, remote) = (
                (Direction.OUT, (src, dst)) if out else (Direction.IN, (dst, src))
            )
            if self.spd.pop((direction, local, remote, policy.selector.dport), None) is not None:
                self.changed()


def _policy(flow: Flow, entry: Entry) -> XfrmPolicy:
    direction, local, remote, port = flow
    src, dst = (local, remote) if direction is Direction.OUT else (remote, local)
    return XfrmPolicy(
        direction=PolicyDirection.OUT if direction is Direction.OUT else PolicyDirection.IN,
        selector=Selector(
            src=ip_network(src),
            dst=ip_network(dst),
            proto=_UDP,
            dport=port,
            dport_mask=_EXACT,
        ),
        priority=_PRIORITY + (0 if entry.spi else 1),
        action=Action.ALLOW,
        templates=(
            Template(
                src=src,
                dst=dst,
                proto=_ESP,
                spi=entry.spi,
                reqid=entry.reqid,
                mode=Mode.TRANSPORT,
            ),
        ),
    )
