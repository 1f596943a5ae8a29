# SPDX-License-Identifier: Apache-2.0
"""What lies between hosts: IKE messages on their way, and what happens to a packet sent now.

A packet takes as long as a message, so what matters is the sender's kernel now and the receiver's
one delay later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from controller.plan.guard import Direction
from ovn_ipsec.model.chassis import IpAddress
from tests.fakes.timeline import Timeline

from .charon import Charon, Message
from .kernel import Kernel, Packet, Sent, denies

DELAY_S = 0.005
IKE_PORTS = (500, 4500)
USUAL = 6081


class End(Protocol):
    """A host, as the wire sees it."""

    name: str
    ip: IpAddress
    port: int
    kernel: Kernel
    charon: Charon
    up: bool
    tunnels: bool
    """Whether its tunnel ports are there."""
    decides: bool
    """Whether its controller has decided about its pairs since it was booted, or was held up."""

    @property
    def reads(self) -> bool:
        """Whether its controller hears at once what changes in the southbound."""


@dataclass(slots=True, eq=False)
class Way:
    """One direction between two hosts."""

    src: End
    dst: End
    sent: Packet
    """What leaves now."""
    arriving: Packet
    """What left one delay ago."""
    port: int = 6081
    """Of the tunnel, at its receiver."""
    passes: bool = False
    """Whether that reaches the tunnel at the other end."""
    accepts_clear: bool = True
    """Whether a clear packet that comes now would."""
    stray: bool = False
    """Whether a clear packet to the usual port leaves, where the tunnel's port is another."""

    def __str__(self) -> str:
        return f"{self.src.name}->{self.dst.name}"


def _denies_ike(end: End, way: tuple[Direction, IpAddress, IpAddress]) -> bool:
    """Whether a host drops IKE: which port its daemons use depends on what lies between them."""
    return any(denies(end.kernel.layers["nft"], (*way, port)) for port in IKE_PORTS)


class Wire:
    """Between all hosts."""

    def __init__(self, timeline: Timeline, random: Random) -> None:
        self._timeline, self._random = timeline, random
        self.hosts: dict[IpAddress, End] = {}
        self.ways: dict[tuple[str, str], Way] = {}
        self.loss = 0.0
        """Part of the IKE messages that never arrive."""
        self.cut: set[frozenset[str]] = set()
        """Names of hosts between which no IKE message passes."""
        self.traffic = True
        """Whether packets flow, and hit traps."""
        self.messages = 0
        self.look: Callable[[Way], None] = lambda _way: None
        """Called when what happens to packets has changed."""

    def add(self, host: End) -> None:
        """Connect a host to all others."""
        self.hosts[host.ip] = host
        nothing = Packet(Sent.NOTHING)
        for other in [one for one in self.hosts.values() if one is not host]:
            self.ways[host.name, other.name] = Way(host, other, nothing, nothing)
            self.ways[other.name, host.name] = Way(other, host, nothing, nothing)
            self._send(self.ways[other.name, host.name])
        self.changed(host)

    def remove(self, host: End) -> None:
        """Take a host away for ever."""
        self.hosts.pop(host.ip, None)
        for key in [key for key in self.ways if host.name in key]:
            del self.ways[key]

    def send(self, src: IpAddress, dst: IpAddress, message: Message) -> None:
        """Send an IKE message."""
        self.messages += 1
        sender, receiver = self.hosts.get(src), self.hosts.get(dst)
        if sender is None or receiver is None or not sender.up:
            return
        # The daemon's socket has a bypass policy, so only nftables can be in the way of IKE.
        if _denies_ike(sender, (Direction.OUT, src, dst)):
            return
        if frozenset((sender.name, receiver.name)) in self.cut:
            return
        if self.loss and self._random.random() < self.loss:
            return

        def arrive() -> None:
            if _denies_ike(receiver, (Direction.IN, dst, src)):
                return
            if receiver.up and self.hosts.get(dst) is receiver:
                receiver.charon.receive(dst, src, message)

        self._timeline.after(DELAY_S, arrive)

    def changed(self, host: End) -> None:
        """Look again at what happens to packets from and to a host."""
        for way in list(self.ways.values()):
            if way.src is host:
                self._send(way)
            elif way.dst is host:
                self._receive(way)
                if way.port != host.port:
                    way.port = host.port
                    self._send(way)

    def _send(self, way: Way) -> None:
        packet = Packet(Sent.NOTHING)
        if way.src.tunnels:
            packet = way.src.kernel.send(way.src.ip, way.dst.ip, way.dst.port)
        stray = False
        if way.dst.port != USUAL and way.src.tunnels:
            sent = way.src.kernel.send(way.src.ip, way.dst.ip, USUAL).sent
            stray = sent is Sent.CLEAR
        if stray != way.stray:
            way.stray = stray
            self.look(way)
        if self.traffic and packet.sent is Sent.WAITS:
            flow = (Direction.OUT, way.src.ip, way.dst.ip, way.dst.port)
            way.src.charon.acquire(flow)
        if packet == way.sent:
            return
        way.sent = packet
        self.look(way)

        def arrive() -> None:
            way.arriving = packet
            self._receive(way)

        self._timeline.after(DELAY_S, arrive)

    def _receive(self, way: Way) -> None:
        src, dst = way.src, way.dst
        packet = way.arriving
        sent = packet.sent in (Sent.CLEAR, Sent.ESP)
        passes = sent and dst.kernel.receive(packet, dst.ip, src.ip, dst.port)
        if self.traffic and passes:
            self._arrive(way, packet)
        clear = any(
            dst.kernel.receive(Packet(Sent.CLEAR), dst.ip, src.ip, port)
            for port in {dst.port, USUAL}
        )
        if (passes, clear) != (way.passes, way.accepts_clear):
            way.passes, way.accepts_clear = passes, clear
            self.look(way)

    def knock(self, host: End, there: IpAddress) -> None:
        """Let a host send one packet to the tunnel port of another."""
        way = next((w for w in self.ways.values() if w.src is host and w.dst.ip == there), None)
        if way is None or not host.tunnels:
            return
        packet = host.kernel.send(host.ip, there, way.dst.port)
        if packet.sent is Sent.WAITS:
            host.charon.acquire((Direction.OUT, host.ip, there, way.dst.port))
        self._timeline.after(DELAY_S, lambda: self._arrive(way, packet))

    @staticmethod
    def _arrive(way: Way, packet: Packet) -> None:
        dst = way.dst
        if packet.sent is Sent.ESP and dst.kernel.receive(packet, dst.ip, way.src.ip, dst.port):
            dst.kernel.heard[packet.spi] = dst.kernel.heard.get(packet.spi, 0) + 1

    def hit_traps(self) -> None:
        """Let packets flow on what is trapped."""
        if not self.traffic:
            return
        for way in list(self.ways.values()):
            if way.sent.sent is Sent.WAITS and way.src.up:
                way.src.charon.acquire((Direction.OUT, way.src.ip, way.dst.ip, way.dst.port))
