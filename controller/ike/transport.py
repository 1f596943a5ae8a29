# SPDX-License-Identifier: Apache-2.0
"""One vici session that never blocks for longer than its deadline.

Edge (a socket of the IKE daemon). Input: sections. Output: sections.

The Session of the vici package removes the timeout from the socket within a packet, so a daemon
that stops there would block its caller for ever; only that package's encoding is used here. A
session belongs to one thread. Any failure between a request and its answer ends the session,
because nobody could then tell which request the next packet answers.
"""

import socket
import struct
from collections.abc import Callable
from time import monotonic
from typing import Any

from vici.exception import DeserializationException
from vici.protocol import Message, Packet

from ovn_ipsec.errors import IkeError, IkeHungError

from .sections import Section, Seen, words

PACKET_MAX = 1 << 26
CHUNK = 1 << 16
DRAIN_MAX = 1 << 23
"""Bytes that one drain takes; the rest waits in the socket, which stays readable."""
_HEADER = struct.Struct("!I")


class RefusedError(IkeError):
    """The daemon answered that it will not; the session goes on."""


class ViciSession:
    """Packets over a connected socket."""

    def __init__(self, connect: Callable[[float], socket.socket], deadline_s: float) -> None:
        self._connect = connect
        self.deadline_s = deadline_s
        self._socket: socket.socket | None = None
        self._buffer = bytearray()

    @property
    def is_open(self) -> bool:
        """Whether the session is up."""
        return self._socket is not None

    def open(self) -> None:
        """Connect.

        Raises:
            IkeError: nobody listens.
        """
        self.close()
        try:
            self._socket = self._connect(self.deadline_s)
        except TimeoutError:
            raise IkeHungError("the IKE daemon accepts no connection") from None
        except OSError as error:
            raise IkeError(f"cannot reach the IKE daemon: {error.strerror or error}") from error

    def close(self) -> None:
        """Disconnect; no error when it is already."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._buffer.clear()

    def fileno(self) -> int:
        """Give the descriptor, -1 while disconnected."""
        return -1 if self._socket is None else self._socket.fileno()

    def peer_pid(self) -> int:
        """Give the process id of whoever made the listening socket, 0 when unknown."""
        try:
            credentials = self._connected().getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
            )
        except OSError:
            return 0
        pid: int = struct.unpack("3i", credentials)[0]
        return pid

    def register(self, event: str) -> None:
        """Ask for an event from now on.

        Raises:
            IkeError: the daemon does not know it, or is gone.
        """
        answer = self._exchange(Packet.register_event(event), [])
        if answer.response_type == Packet.EVENT_UNKNOWN:
            raise RefusedError(f"the IKE daemon knows no event {event}")
        self._expect(answer, Packet.EVENT_CONFIRM)

    def call(self, command: str, message: Section | None = None) -> Seen:
        """Send a request and wait for its answer.

        Raises:
            RefusedError: the daemon refused.
            IkeError: the daemon is gone, or was too slow.
        """
        return self.stream(command, message)[0]

    def stream(self, command: str, message: Section | None = None) -> tuple[Seen, list[Seen]]:
        """Send a request and collect the registered events that come before its answer.

        Returns:
            The answer and the events, in the order in which they came.

        Raises:
            RefusedError: the daemon refused.
            IkeError: the daemon is gone, or was too slow.
        """
        try:
            packet = Packet.request(command, Message.serialize(message or {}))
        except (struct.error, ValueError):
            raise RefusedError(f"{command}: a value is longer than vici can carry") from None
        payloads: list[Any] = []
        answer = self._exchange(packet, payloads)
        if answer.response_type == Packet.CMD_UNKNOWN:
            raise RefusedError(f"the IKE daemon knows no command {command}")
        self._expect(answer, Packet.CMD_RESPONSE)
        events = [self.decode(payload) for payload in payloads]
        result = self.decode(answer.payload)
        if result.get("success", b"yes") != b"yes":
            raise RefusedError(f"{command}: {words(result.get('errmsg'))[:200] or 'refused'}")
        return result, events

    def drain(self) -> tuple[list[bytes], bool]:
        """Take the packets that wait, without blocking.

        Returns:
            Whole packets, and whether the session is still up.
        """
        if self._socket is None:
            return [], False
        taken = 0
        alive = True
        try:
            self._socket.setblocking(False)
            while taken < DRAIN_MAX:
                chunk = self._socket.recv(CHUNK)
                if not chunk:
                    alive = False
                    break
                self._buffer += chunk
                taken += len(chunk)
        except BlockingIOError:
            pass
        except OSError:
            alive = False
        packets, sane = self._split()
        if not (alive and sane):
            self.close()
        return packets, alive and sane

    def _split(self) -> tuple[list[bytes], bool]:
        packets, start, view = [], 0, self._buffer
        sane = True
        while len(view) - start >= _HEADER.size:
            (length,) = _HEADER.unpack_from(view, start)
            sane = length <= PACKET_MAX
            end = start + _HEADER.size + length
            if not sane or len(view) < end:
                break
            packets.append(bytes(view[start + _HEADER.size : end]))
            start = end
        del view[:start]
        return packets, sane

    def decode(self, payload: Any) -> Seen:
        """Decode the body of a packet.

        Raises:
            IkeError: it is damaged; the session is closed.
        """
        try:
            seen: Seen = Message.deserialize(payload)
        except (DeserializationException, struct.error, ValueError) as error:
            self.close()
            raise IkeError(f"the IKE daemon sent a damaged message: {error}") from error
        return seen

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise IkeError("not connected to the IKE daemon")
        return self._socket

    def _exchange(self, packet: bytes, events: list[Any]) -> Any:
        sock = self._connected()
        until = monotonic() + self.deadline_s
        try:
            sock.settimeout(self.deadline_s)
            sock.sendall(_HEADER.pack(len(packet)) + packet)
            while True:
                answer = Packet.parse(self._receive(sock, until))
                if answer.response_type != Packet.EVENT:
                    return answer
                events.append(answer.payload)
        except TimeoutError:
            self.close()
            raise IkeHungError(f"the IKE daemon did not answer in {self.deadline_s:g} s") from None
        except (OSError, struct.error) as error:
            self.close()
            raise IkeError(f"lost the IKE daemon: {error}") from error

    def _receive(self, sock: socket.socket, until: float) -> bytes:
        (length,) = _HEADER.unpack(self._take(sock, _HEADER.size, until))
        if length > PACKET_MAX:
            raise OSError(f"a packet of {length} bytes")
        return self._take(sock, length, until)

    @staticmethod
    def _take(sock: socket.socket, count: int, until: float) -> bytes:
        data = bytearray()
        while len(data) < count:
            left = until - monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
            chunk = sock.recv(min(count - len(data), CHUNK))
            if not chunk:
                raise OSError("connection closed")
            data += chunk
        return bytes(data)

    def _expect(self, answer: Any, kind: int) -> None:
        if answer.response_type != kind:
            self.close()
            raise IkeError(f"the IKE daemon sent packet type {answer.response_type}, not {kind}")
