# SPDX-License-Identifier: Apache-2.0
"""Netlink sockets: open, subscribe and read, for any family of messages.

Edge. Input: datagrams of the kernel. Output: messages. The network namespace is the one of the
thread that opens the socket.

Source: include/uapi/linux/netlink.h.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from ovn_ipsec.errors import EdgeError

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, seq, port."""
RECEIVE_BYTES = 1 << 18
"""No datagram is longer."""
_BUFFER_BYTES = 1 << 22


class Protocol(IntEnum):
    """Families that are used here."""

    XFRM = 6
    NETFILTER = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One netlink message from the kernel."""

    kind: int
    flags: int
    seq: int
    port: int
    """Who asked for the change, in an event."""
    payload: bytes


def connect(protocol: Protocol, *, groups: int = 0, timeout_s: float = 0) -> socket.socket:
    """Open and bind a socket.

    Args:
        protocol: What it is for.
        groups: Multicast groups, as a mask.
        timeout_s: How long it waits for an answer; 0: not at all.

    Raises:
        OSError: EPROTONOSUPPORT when the kernel lacks the protocol.
    """
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    opened.settimeout(timeout_s)
    return opened


def split(data: bytes) -> Iterator[Message]:
    """Split a datagram into messages.

    Args:
        data: What one recv returned.

    Raises:
        OSError: EBADMSG, a message is cut off.
    """
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, seq, port = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > len(data):
            raise OSError(errno.EBADMSG, "truncated netlink message")
        payload = data[offset + HEADER.size : offset + length]
        yield Message(kind=kind, flags=flags, seq=seq, port=port, payload=payload)
        offset += (length + 3) & ~3


class EventSocket:
    """A subscription to multicast messages; a subclass decides which of them matter."""

    def __init__(self, protocol: Protocol, groups: int) -> None:
        """Store what to subscribe to; ``open`` does it.

        Args:
            protocol: Whose messages.
            groups: Multicast groups, as a mask.
        """
        self._protocol, self._groups = protocol, groups
        self._socket: socket.socket | None = None

    def open(self) -> Self:
        """Subscribe.

        Returns:
            Itself.

        Raises:
            EdgeError: the kernel refused.
        """
        if self._socket is None:
            try:
                self._socket = connect(self._protocol, groups=self._groups)
            except OSError as error:
                name = f"NETLINK_{self._protocol.name}"
                raise EdgeError(f"cannot subscribe to {name}: {error}") from error
        return self

    def close(self) -> None:
        """Unsubscribe."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def fileno(self) -> int:
        """Give the descriptor to poll for reading.

        Returns:
            The descriptor, -1 when closed.
        """
        return -1 if self._socket is None else self._socket.fileno()

    def _receive(self) -> Iterator[Message | None]:
        """Read all waiting messages without blocking; None: some were lost. Empty once closed."""
        while self._socket is not None:
            try:
                messages = list(split(self._socket.recv(RECEIVE_BYTES)))
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.EBADMSG):
                    self.close()
                yield None
                continue
            yield from messages
