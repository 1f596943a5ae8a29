# SPDX-License-Identifier: Apache-2.0
"""Count exactly what two workloads lose: numbered ICMP echoes, twenty a second.

Edge (raw sockets). The answers come from the kernel of the other workload, so one thread here
is all that runs.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import socket
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from .. import namespaces
from ..waiting import poll, stretched

GRACE_S = 2.0
"""An answer that is later than this (``stretched``) counts as lost; slow emulation makes tens of
milliseconds."""

_idents = itertools.count(os.getpid() & 0x3FFF)


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of one pinger: the number of the next packet."""

    sequence: int
    at: float


class Pinger:
    """Echoes from one workload to another, until ``stop``."""

    def __init__(self, network: Path, target: str, *, rate: float = 20.0, size: int = 56) -> None:
        """Remember where from and where to.

        Args:
            network: The network namespace that sends.
            target: The address that answers, IPv4 or IPv6.
            rate: Packets a second.
            size: Bytes behind the ICMP header.
        """
        self.target = target
        self._network = network
        self._interval_s = 1 / rate
        self._size = size
        self._ident = next(_idents) & 0xFFFF
        self._sent: list[float] = []
        self._answered: dict[int, float] = {}
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start sending."""
        six = ipaddress.ip_address(self.target).version == 6
        family = socket.AF_INET6 if six else socket.AF_INET
        protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
        with namespaces.inside_network(self._network):
            self._socket = socket.socket(family, socket.SOCK_RAW, protocol)
        self._socket.connect((self.target, 0))
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, name="pinger", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop sending; the counts stay."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self._socket.close()
        self._thread = self._socket = None

    def mark(self) -> Mark:
        """Return this moment, for the questions below."""
        return Mark(len(self._sent), time.monotonic())

    def lost_since(self, since: Mark, until: Mark | None = None) -> int:
        """Return how many packets sent in between were never answered.

        Waits up to ``GRACE_S`` for those that are still on their way.
        """
        return len(self.lost_times(since, until))

    def lost_times(self, since: Mark, until: Mark | None = None) -> list[float]:
        """Return when each lost packet was sent (monotonic seconds); waits as ``lost_since``."""
        end = (until or self.mark()).sequence
        if end > since.sequence:
            self._wait_for(range(since.sequence, end))
        numbers = range(since.sequence, end)
        return [self._sent[number] for number in numbers if number not in self._answered]

    def received_since(self, since: Mark, until: Mark | None = None) -> int:
        """Return how many packets sent in between were answered so far."""
        end = (until or self.mark()).sequence
        return sum(number in self._answered for number in range(since.sequence, end))

    def sent_since(self, since: Mark, until: Mark | None = None) -> int:
        """Return how many packets were sent in between."""
        return (until or self.mark()).sequence - since.sequence

    def longest_gap(self, since: Mark, until: Mark | None = None) -> float:
        """Return the longest time without an answer, in seconds, up to now or ``until``."""
        end = (until or self.mark()).at
        times = [at for at in list(self._answered.values()) if since.at <= at <= end]
        moments = [since.at, *sorted(times), end]
        return max(after - before for before, after in itertools.pairwise(moments))

    def _wait_for(self, numbers: range) -> None:
        left_s = self._sent[numbers[-1]] + stretched(GRACE_S) - time.monotonic()
        poll(lambda: all(n in self._answered for n in reversed(numbers)), left_s, every=0.05)

    def _work(self) -> None:
        assert self._socket is not None  # noqa: S101 - start made it
        following = time.monotonic()
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= following:
                self._send()
                following = max(following + self._interval_s, now)
                continue
            self._receive(following - now)
        end = time.monotonic() + 0.2
        while (left := end - time.monotonic()) > 0:
            self._receive(left)

    def _send(self) -> None:
        assert self._socket is not None  # noqa: S101 - start made it
        number = len(self._sent)
        six = self._socket.family == socket.AF_INET6
        head = struct.pack("!BBHHH", 128 if six else 8, 0, 0, self._ident, number & 0xFFFF)
        packet = head + struct.pack("!Q", number) + bytes(max(0, self._size - 8))
        if not six:
            packet = packet[:2] + struct.pack("!H", _checksum(packet)) + packet[4:]
        self._sent.append(time.monotonic())
        with contextlib.suppress(OSError):
            self._socket.send(packet)

    def _receive(self, timeout: float) -> None:
        assert self._socket is not None  # noqa: S101 - start made it
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(2048)
        except OSError:
            return
        six = self._socket.family == socket.AF_INET6
        message = data if six else data[(data[0] & 15) * 4 :]
        if len(message) < 16 or message[0] != (129 if six else 0):
            return
        ident, number = struct.unpack("!4xH2xQ", message[:16])
        if ident == self._ident and number < len(self._sent):
            self._answered.setdefault(number, time.monotonic())


def _checksum(packet: bytes) -> int:
    padded = packet + b"\0" * (len(packet) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
