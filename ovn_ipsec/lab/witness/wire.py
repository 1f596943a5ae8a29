# SPDX-License-Identifier: Apache-2.0
"""An independent witness of the underlay: what each host really sent, packet by packet.

Edge (AF_PACKET). Trusts neither OVS nor the IKE daemon nor our programs: one raw socket on the
outer end of each host's link counts what came out of the host. A packet is counted once, where
it leaves; its time is the kernel's.

``mark`` and ``counts`` read the sockets to their end, so nothing sent before is missed.
"""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import ipaddress
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

ETH_P_ALL = 3
SO_ATTACH_FILTER = 26
SO_TIMESTAMPNS = 35
PACKET_OUTGOING = 4
CLEAR_PORTS = (6081, 4789)
"""Destination ports of Geneve (RFC 8926) and VXLAN (RFC 7348)."""

# BPF: let pass UDP, ESP, IPv6 fragments; drop the rest, TCP above all, in the kernel.
_FILTER = (
    *((0x28, 0, 0, 12), (0x15, 0, 3, 0x0800)),  # ethertype; not IPv4: 5
    *((0x30, 0, 0, 23), (0x15, 5, 0, 17), (0x15, 4, 5, 50)),  # protocol
    *((0x15, 0, 4, 0x86DD), (0x30, 0, 0, 20)),  # IPv6; next header
    *((0x15, 1, 0, 17), (0x15, 0, 1, 50)),
    *((0x06, 0, 0, 96), (0x06, 0, 0, 0)),
)


class Kind(StrEnum):
    """What a packet is to somebody on the underlay."""

    CLEAR = "clear"
    """Geneve or VXLAN that anybody can read."""
    ESP = "esp"
    """IP protocol 50, RFC 4303."""
    ESP_UDP = "esp-udp"
    """ESP in UDP port 4500, RFC 3948."""
    IKE = "ike"
    """RFC 7296, on port 500 or behind the non-ESP marker on 4500."""


class Sighting(NamedTuple):
    """One packet."""

    at: float
    """Monotonic seconds at which the kernel saw it."""
    kind: Kind
    source: str
    destination: str
    vni: int = 0
    """Of a clear packet: the datapath that it is for (Datapath_Binding.tunnel_key)."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on the witness's clock (monotonic seconds)."""

    at: float


@dataclass(frozen=True, slots=True)
class Flow:
    """Packets of one kind from one address to another."""

    count: int
    """How many; never 0."""
    first: float
    """Monotonic seconds of the first."""
    last: float
    """Monotonic seconds of the last."""


FlowKey = tuple[Kind, str, str]
"""Kind, source address, destination address."""


class Wire:
    """The witness; ``open`` starts it, ``close`` ends it."""

    def __init__(self, interfaces: Sequence[str], clear_ports: Iterable[int] = CLEAR_PORTS) -> None:
        """Remember the interfaces (the outer ends) and the ports that mean clear text."""
        self._interfaces = tuple(interfaces)
        self._clear_ports = frozenset(clear_ports)
        self._sockets: list[socket.socket] = []
        self._seen: list[Sighting] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Listen from now on; call it in the namespace of the interfaces."""
        self._sockets = [_listen(name) for name in self._interfaces]
        self._thread = threading.Thread(target=self._watch, name="wire", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; what was seen stays."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        for listener in self._sockets:
            listener.close()
        self._sockets = []

    def mark(self) -> Mark:
        """Return this moment."""
        return Mark(time.monotonic())

    def sightings(self, since: Mark | None = None, until: Mark | None = None) -> list[Sighting]:
        """Return every packet in between, in the order of time."""
        self._drain()
        with self._lock:
            self._seen.sort()
            start = 0 if since is None else bisect.bisect_left(self._seen, (since.at,))
            end = len(self._seen) if until is None else bisect.bisect_left(self._seen, (until.at,))
            return self._seen[start:end]

    def counts(self, since: Mark | None = None, until: Mark | None = None) -> dict[FlowKey, Flow]:
        """Return what was seen in between, by kind, source and destination."""
        flows: dict[FlowKey, Flow] = {}
        for at, kind, source, destination, _ in self.sightings(since, until):
            key = (kind, source, destination)
            before = flows.get(key)
            flows[key] = Flow(before.count + 1, before.first, at) if before else Flow(1, at, at)
        return flows

    def total(self, kind: Kind, since: Mark | None = None, until: Mark | None = None) -> int:
        """Return how many packets of one kind were seen in between, between any two."""
        return sum(sighting.kind == kind for sighting in self.sightings(since, until))

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for listener in self._sockets:
                selector.register(listener, selectors.EVENT_READ)
            while not self._stopping.is_set():
                if selector.select(0.5):
                    self._drain()
                    self._stopping.wait(0.05)

    def _drain(self) -> None:
        with self._lock:
            for listener in self._sockets:
                self._drain_one(listener)

    def _drain_one(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, address = listener.recvmsg(96, 64)
                if address[2] == PACKET_OUTGOING:
                    continue
                if (what := classify(data, self._clear_ports)) is not None:
                    self._seen.append(Sighting(_kernel_time(ancillary), *what))


def classify(frame: bytes, clear_ports: frozenset[int]) -> tuple[Kind, str, str, int] | None:
    """Tell what an Ethernet frame is; None for what the witness does not count.

    A later IPv4 fragment of a UDP packet has no ports and is not counted: its first one was.
    """
    match frame[12:14]:
        case b"\x08\x00" if len(frame) >= 34:
            start = 14 + (frame[14] & 15) * 4
            protocol, offset = frame[23], struct.unpack("!H", frame[20:22])[0] & 0x1FFF
            ends = frame[26:30], frame[30:34]
        case b"\x86\xdd" if len(frame) >= 54:
            start, protocol, offset = 54, frame[20], 0
            ends = frame[22:38], frame[38:54]
        case _:
            return None
    payload = b"" if offset else frame[start:]
    kind = _kind(protocol, payload, clear_ports)
    if kind is None:
        return None
    source, destination = (str(ipaddress.ip_address(end)) for end in ends)
    # Behind the UDP header, in Geneve (RFC 8926) as in VXLAN (RFC 7348).
    vni = int.from_bytes(payload[12:15], "big") if kind is Kind.CLEAR else 0
    return kind, source, destination, vni


def _kind(protocol: int, payload: bytes, clear_ports: frozenset[int]) -> Kind | None:
    if protocol == socket.IPPROTO_ESP:
        return Kind.ESP
    if protocol != socket.IPPROTO_UDP or len(payload) < 8:
        return None
    source, destination = struct.unpack("!HH", payload[:4])
    if destination in clear_ports:
        return Kind.CLEAR
    if 500 in (source, destination):
        return Kind.IKE
    if 4500 in (source, destination):
        # RFC 3948 section 2.2: four zero bytes where an SPI would be.
        return Kind.IKE if payload[8:12] == bytes(4) else Kind.ESP_UDP
    return None


def _listen(interface: str) -> socket.socket:
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    _attach_filter(listener)
    listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    listener.setblocking(False)
    listener.bind((interface, ETH_P_ALL))
    return listener


def _attach_filter(listener: socket.socket) -> None:
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _FILTER)
    buffer = ctypes.create_string_buffer(program)
    head = struct.pack("HL", len(_FILTER), ctypes.addressof(buffer))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)


def _kernel_time(ancillary: list[tuple[int, int, bytes]]) -> float:
    now = time.monotonic()
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return float(now - (time.time() - (seconds + nanoseconds / 1e9)))
    return now
