# SPDX-License-Identifier: Apache-2.0
"""The XFRM netlink socket: requests with strict answers, dumps, events.

Edge. Input: requests. Output: values, or XfrmError. The network namespace is the one of the
thread that opens the socket.

The kernel works through all messages of one sendmsg before the call returns. So only the last
message of a batch asks for an acknowledgement; a failed one is answered in any case, and does
not stop those behind it.
"""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Self

import tenacity

from ovn_ipsec.errors import XfrmError

from . import messages
from .messages import Kind, Request
from .values import ALL_EVENTS, NO_EVENTS, XfrmEvents, XfrmPolicy, XfrmState

NETLINK_XFRM = 6
HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr of include/uapi/linux/netlink.h: length, type, flags, seq, port."""
_ERROR_CODE = struct.Struct("=i")
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_DUMP_INTERRUPTED = 0x10
_GROUPS = 1 << 1 | 1 << 2 | 1 << 3
"""XFRMNLGRP_EXPIRE 2, XFRMNLGRP_SA 3, XFRMNLGRP_POLICY 4, as a mask."""
_BATCH = 128
"""Messages in one sendmsg: even if each is refused, the answers fit the receive buffer."""
_RECEIVE_BYTES = 1 << 18
_EVENT_BUFFER_BYTES = 1 << 22
_TIMEOUT_S = 5.0


class InterruptedDumpError(XfrmError):
    """The table changed during the dump."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One netlink message from the kernel."""

    kind: int
    flags: int
    seq: int
    port: int
    """Who asked for the change, in an event."""
    payload: bytes

    def error(self) -> int:
        """Read the code of an NLMSG_ERROR or NLMSG_DONE.

        Returns:
            A positive errno, or 0.
        """
        size = _ERROR_CODE.size
        return -_ERROR_CODE.unpack_from(self.payload)[0] if len(self.payload) >= size else 0


class XfrmSocket:
    """One request socket, for one thread; a context manager."""

    def __init__(self) -> None:
        """Store nothing; ``open`` connects."""
        self._socket: socket.socket | None = None
        self._seq = 0
        self.port_id = 0
        """Our netlink port once open; events that we cause carry it, because xfrm_user copies it
        from the header of the request."""

    def open(self) -> Self:
        """Open the socket, once.

        Returns:
            Itself.

        Raises:
            XfrmError: errno EPROTONOSUPPORT when the kernel has no XFRM.
        """
        if self._socket is None:
            self._socket = _open(groups=0, timeout_s=_TIMEOUT_S)
            self.port_id = self._socket.getsockname()[0]
        return self

    def close(self) -> None:
        """Close the socket; the kernel's tables stay as they are."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def __enter__(self) -> Self:
        """Open.

        Returns:
            Itself.
        """
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def send(self, requests: Iterable[Request], *, ignore: frozenset[int] = frozenset()) -> None:
        """Send requests in order, in few system calls.

        Args:
            requests: any number.
            ignore: errno values that are no error here, such as ENOENT of a deletion.

        Raises:
            XfrmError: the first refusal; the others of its batch were carried out, the batches
                behind it were not sent.
        """
        todo = iter(requests)
        while batch := list(islice(todo, _BATCH)):
            self._send_batch(batch, ignore)

    def dump_policies(self) -> tuple[XfrmPolicy, ...]:
        """Read the whole SPD, policies of single sockets included.

        Returns:
            The policies in the kernel's order.

        Raises:
            XfrmError: the kernel refused, or the dump was interrupted again and again.
        """
        payloads = self._dump(messages.dump_policies(), Kind.NEW_POLICY)
        return tuple(messages.parse_policy(payload) for payload in payloads)

    def dump_states(self) -> tuple[XfrmState, ...]:
        """Read the whole SAD.

        Returns:
            The SAs in the kernel's order.

        Raises:
            XfrmError: the kernel refused, or the dump was interrupted again and again.
        """
        payloads = self._dump(messages.dump_states(), Kind.NEW_SA)
        return tuple(messages.parse_state(payload) for payload in payloads)

    def _send_batch(self, batch: list[Request], ignore: frozenset[int]) -> None:
        self.open()
        first = self._seq + 1
        self._seq += len(batch)
        data = b"".join(
            self._message(request, _REQUEST | (_ACK if seq == self._seq else 0), seq)
            for seq, request in enumerate(batch, start=first)
        )
        self._transmit(data)
        refused: XfrmError | None = None
        for answer in self._answers():
            if answer.kind != _ERROR or not first <= answer.seq <= self._seq:
                continue
            code = answer.error()
            if code and code not in ignore and refused is None:
                refused = XfrmError(batch[answer.seq - first].kind.name, errno=code)
            if answer.seq == self._seq:
                break
        if refused is not None:
            raise refused

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(InterruptedDumpError),
        stop=tenacity.stop_after_attempt(5),
        reraise=True,
    )
    def _dump(self, request: Request, wanted: Kind) -> list[bytes]:
        self.open()
        self._seq += 1
        self._transmit(self._message(request, _REQUEST | _DUMP, self._seq))
        found: list[bytes] = []
        interrupted = False
        for answer in self._answers():
            if answer.seq != self._seq:
                continue
            interrupted |= bool(answer.flags & _DUMP_INTERRUPTED)
            if answer.kind in (_DONE, _ERROR):
                if code := answer.error():
                    raise XfrmError(request.kind.name, errno=code)
                break
            if answer.kind == wanted:
                found.append(answer.payload)
        if interrupted:
            raise InterruptedDumpError(request.kind.name, errno=errno.EINTR)
        return found

    def _message(self, request: Request, flags: int, seq: int) -> bytes:
        size = HEADER.size + len(request.payload)
        return HEADER.pack(size, request.kind, flags, seq, self.port_id) + request.payload

    def _transmit(self, data: bytes) -> None:
        try:
            self._opened().send(data)
        except OSError as error:
            raise self._broken("cannot send", error) from error

    def _answers(self) -> Iterator[Message]:
        while True:
            try:
                data = self._opened().recv(_RECEIVE_BYTES)
            except OSError as error:
                raise self._broken("cannot receive", error) from error
            yield from split(data)

    def _opened(self) -> socket.socket:
        self.open()
        if self._socket is None:
            raise XfrmError("the socket is closed", errno=errno.EBADF)
        return self._socket

    def _broken(self, what: str, error: OSError) -> XfrmError:
        self.close()
        return XfrmError(what, errno=error.errno or errno.EIO)


class XfrmEventSocket:
    """Wakes the loop when the kernel's IPsec tables change."""

    def __init__(self) -> None:
        """Store nothing; ``open`` subscribes."""
        self._socket: socket.socket | None = None

    def open(self) -> Self:
        """Subscribe to the EXPIRE, SA and POLICY groups.

        Returns:
            Itself.

        Raises:
            XfrmError: the kernel refused.
        """
        if self._socket is None:
            self._socket = _open(groups=_GROUPS, timeout_s=0)
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

    def drain(self, *, own_ports: frozenset[int] = frozenset()) -> XfrmEvents:
        """Read all events that wait, without blocking.

        Args:
            own_ports: netlink ports whose changes are not news, see ``XfrmSocket.port_id``.

        Returns:
            What happened; everything, when events were lost or the socket broke.
        """
        events = NO_EVENTS
        while self._socket is not None:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return events
            except OSError as error:
                events = ALL_EVENTS
                if error.errno != errno.ENOBUFS:
                    self.close()
                continue
            for message in split(data):
                if message.port not in own_ports:
                    events = messages.add_event(events, message.kind)
        return ALL_EVENTS


def split(data: bytes) -> Iterator[Message]:
    """Split a datagram into messages.

    Args:
        data: what one recv returned.

    Yields:
        Each message.

    Raises:
        XfrmError: a message is cut off.
    """
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, seq, port = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > len(data):
            raise XfrmError("truncated netlink message", errno=errno.EBADMSG)
        payload = data[offset + HEADER.size : offset + length]
        yield Message(kind=kind, flags=flags, seq=seq, port=port, payload=payload)
        offset += (length + 3) & ~3


def _open(*, groups: int, timeout_s: float) -> socket.socket:
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM)
    except OSError as error:
        raise XfrmError("cannot open NETLINK_XFRM", errno=error.errno or errno.EIO) from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EVENT_BUFFER_BYTES)
        opened.bind((0, groups))
    except OSError as error:
        opened.close()
        raise XfrmError("cannot bind NETLINK_XFRM", errno=error.errno or errno.EIO) from error
    opened.settimeout(timeout_s)
    return opened
