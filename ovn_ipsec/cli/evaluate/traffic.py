# SPDX-License-Identifier: Apache-2.0
"""Edge: one run: iperf3 sends from our workload, and pings go beside it.

Source: RFC 792, iperf3(1).
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from ...errors import EdgeError
from . import host, port
from .readings import client_words, read_iperf, server_words
from .values import Run, Sample, Traffic, busy

PING_EVERY_S, PING_GRACE_S = 0.1, 2.0
"""Between two pings, and how long the last ones are waited for."""
ENDS_S = 45.0
"""What a run may take beyond its time."""
_PROGRAMS = {"iperf3": "iperf3", "nsenter": "util-linux", "setpriv": "util-linux"}
_ECHO, _ECHO_REPLY = 8, 0
_HEAD = struct.Struct("!BBHHHd")
"""Type, code, checksum, identifier, number, and when it was sent."""


class NoProgram(EdgeError):  # noqa: N818 - says what is missing
    """A program that measures is not installed."""

    def __init__(self, name: str, package: str) -> None:
        """Store which, and what it is in."""
        super().__init__(f"{name} is not installed")
        self.next_step = f"apt-get install {package}, or dnf install {package}"


def expect_programs() -> None:
    """Look whether what measures is installed.

    Raises:
        NoProgram: It is not.
    """
    for name, package in _PROGRAMS.items():
        if shutil.which(name) is None:
            raise NoProgram(name, package)


@contextmanager
def server(address: str) -> Iterator[None]:
    """Receive for the length of a block.

    Raises:
        EdgeError: iperf3 ended at once.
    """
    process = _start(server_words(address), subprocess.DEVNULL)
    try:
        yield
        if process.poll() is not None:
            raise EdgeError(f"iperf3 -s ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()


def _start(words: list[str], output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - a list of words, and none of them a stranger's
        port.entered(words),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
    )


def measure(
    traffic: Traffic, target: str, seconds: float, rate_mbps: int, far: Callable[[], Sample]
) -> Run:
    """Send and watch.

    Args:
        traffic: What to send.
        target: The workload at the other end.
        seconds: How long.
        rate_mbps: At most so much; 0: no limit.
        far: Samples the processors of the other end.

    Raises:
        EdgeError: iperf3 fails, or one of the ends does not answer.
    """
    pings = Pings(target)
    try:
        near_then, far_then = host.sample(), far()
        if traffic is Traffic.IDLE:
            end = monotonic() + seconds
            pings.ping_while(lambda: monotonic() < end)
            carried = None
        else:
            words = client_words(traffic, target, seconds, rate_mbps)
            carried = read_iperf(_sent(words, seconds, pings), traffic)
        near_now, far_now = host.sample(), far()
        pings.settle()
    finally:
        pings.close()
    return Run(
        traffic=traffic,
        seconds=near_now.at_s - near_then.at_s,
        carried=carried,
        rtts_ms=tuple(pings.rtts_ms),
        unanswered=pings.sent - len(pings.rtts_ms),
        near=busy(near_then, near_now),
        far=busy(far_then, far_now),
    )


def _sent(words: list[str], seconds: float, pings: Pings) -> str:
    end = monotonic() + seconds + ENDS_S
    with tempfile.TemporaryFile() as output:
        process = _start(words, output.fileno())
        try:
            pings.ping_while(lambda: process.poll() is None and monotonic() < end)
            if process.poll() is None:
                raise EdgeError(f"iperf3 did not end within {seconds + ENDS_S:.0f} s")
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        return output.read().decode(errors="replace")


class Pings:
    """ICMP echoes from our workload to the other, whose kernel answers them."""

    def __init__(self, target: str) -> None:
        """Open a socket there.

        Raises:
            EdgeError: The kernel refuses.
        """
        self.rtts_ms: list[float] = []
        """Of those that were answered."""
        self.sent = 0
        self._ident = os.getpid() & 0xFFFF
        self._due = monotonic()
        try:
            with port.inside():
                kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
                self._socket = socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP)
            self._socket.connect((target, 0))
        except OSError as error:
            raise EdgeError(f"cannot ping {target}: {error.strerror}") from error

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ping_while(self, goes_on: Callable[[], bool]) -> None:
        """Ping as long as something holds."""
        while goes_on():
            if monotonic() >= self._due:
                self._due = monotonic() + PING_EVERY_S
                self._send()
            self._receive(max(0.001, self._due - monotonic()))

    def settle(self) -> None:
        """Wait for answers that are on their way."""
        end = monotonic() + PING_GRACE_S
        while len(self.rtts_ms) < self.sent and (left := end - monotonic()) > 0:
            self._receive(left)

    def _send(self) -> None:
        self.sent += 1
        try:
            self._socket.send(echo(self._ident, self.sent & 0xFFFF, monotonic()))
        except OSError:
            return  # one that could not be sent is one that is not answered

    def _receive(self, limit_s: float) -> None:
        self._socket.settimeout(limit_s)
        try:
            packet = self._socket.recv(2048)
        except OSError:
            return
        sent_at = answered(packet, self._ident)
        if sent_at is not None:
            self.rtts_ms.append((monotonic() - sent_at) * 1000)


def echo(ident: int, number: int, now: float) -> bytes:
    """An ICMP echo that carries when it was sent."""
    packet = _HEAD.pack(_ECHO, 0, 0, ident, number, now)
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return _HEAD.pack(_ECHO, 0, ~total & 0xFFFF, ident, number, now)


def answered(packet: bytes, ident: int) -> float | None:
    """When the echo was sent that an IPv4 packet answers; None: it answers none of ours."""
    head = (packet[0] & 0x0F) * 4 if packet else 0
    if len(packet) < head + _HEAD.size:
        return None
    kind, _, _, found, _, sent_at = _HEAD.unpack_from(packet, head)
    return float(sent_at) if (kind, found) == (_ECHO_REPLY, ident) else None
