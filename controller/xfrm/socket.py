# SPDX-License-Identifier: Apache-2.0
"""The XFRM netlink socket: requests with strict answers, dumps, events.

Edge. Input: requests. Output: values, or XfrmError. The network namespace is the one of the
thread that opens the socket.

The kernel processes all messages of one sendmsg before the call returns. So only the last message
of a batch asks for an acknowledgement; a failed one is answered in any case, and does not stop
those after it.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from secrets import token_bytes
from typing import Self, TypeVar

import tenacity

from ovn_ipsec.errors import XfrmError
from ovn_ipsec.model.observation import Known, Unknown

from . import messages
from .messages import Kind, Request
from .netlink import HEADER, RECEIVE_BYTES, EventSocket, Message, Protocol, connect, split
from .values import ALL_EVENTS, NO_EVENTS, XfrmEvents, XfrmPolicy, XfrmState

T = TypeVar("T")
_ERROR_CODE = struct.Struct("=i")
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_DUMP_INTERRUPTED = 0x10
_GROUPS = 1 << 1 | 1 << 2 | 1 << 3
"""XFRMNLGRP_EXPIRE 2, XFRMNLGRP_SA 3, XFRMNLGRP_POLICY 4, as a mask."""
_BATCH = 128
"""Messages in one sendmsg: even if each is refused, the answers fit the receive buffer."""
_TIMEOUT_S = 5.0
_UNABLE = frozenset(
    {errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOENT}
)
"""No ESP, or none for that version of IP (the first two); no such algorithm (the others)."""
_LEFT = frozenset({errno.EEXIST, errno.ESRCH})
"""It is there already, so it can be made; it was not made, so there is none to delete."""


class InterruptedDumpError(XfrmError):
    """The table changed during the dump."""


class XfrmSocket:
    """One request socket, for one thread."""

    def __init__(self) -> None:
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
            try:
                self._socket = connect(Protocol.XFRM, timeout_s=_TIMEOUT_S)
            except OSError as error:
                raise self._broken("cannot open NETLINK_XFRM", error) from error
            self.port_id = self._socket.getsockname()[0]
        return self

    def close(self) -> None:
        """Close the socket; the kernel's tables stay as they are."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

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
        return _parsed("the SPD", messages.parse_policy, payloads)

    def dump_states(self) -> tuple[XfrmState, ...]:
        """Read the whole SAD.

        Returns:
            The SAs in the kernel's order.

        Raises:
            XfrmError: the kernel refused, or the dump was interrupted again and again.
        """
        payloads = self._dump(messages.dump_states(), Kind.NEW_SA)
        return _parsed("the SAD", messages.parse_state, payloads)

    def esp_support(self) -> Known[frozenset[int]] | Unknown:
        """Try whether this kernel can do ESP, and have it load the modules that it can.

        An SA between addresses for documentation is made and deleted again in one system call, so
        that none is left even if this process dies.

        Returns:
            For which versions of IP it can; Unknown without CAP_NET_ADMIN, or when the kernel
            refused for a reason that says nothing of ESP.
        """
        able: set[int] = set()
        for version in messages.PROBE_ENDS:
            try:
                self.send(messages.probe_esp(version, token_bytes(36)), ignore=_LEFT)
                able.add(version)
            except XfrmError as error:
                if error.errno not in _UNABLE:
                    return Unknown(f"cannot try ESP: {_words(error)}")
        return Known(frozenset(able))

    def esp_available(self, versions: Iterable[int] = (4,)) -> Known[bool] | Unknown:
        """Tell whether this kernel can do ESP, as ``esp_support`` tries it.

        Args:
            versions: Of IP, those of the local addresses.
        """
        match self.esp_support():
            case Known(able):
                return Known(able.issuperset(versions))
            case Unknown() as unknown:
                return unknown

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
            code = _error(answer)
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
                if code := _error(answer):
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
                answers = list(split(self._opened().recv(RECEIVE_BYTES)))
            except OSError as error:
                raise self._broken("cannot receive", error) from error
            yield from answers

    def _opened(self) -> socket.socket:
        self.open()
        if self._socket is None:
            raise XfrmError("the socket is closed", errno=errno.EBADF)
        return self._socket

    def _broken(self, what: str, error: OSError) -> XfrmError:
        self.close()
        return XfrmError(what, errno=error.errno or errno.EIO)


class XfrmEventSocket(EventSocket):
    """Wakes the loop when the kernel's IPsec tables change."""

    def __init__(self) -> None:
        """Choose the EXPIRE, SA and POLICY groups; ``open`` subscribes."""
        super().__init__(Protocol.XFRM, _GROUPS)

    def drain(self, *, own_ports: frozenset[int] = frozenset()) -> XfrmEvents:
        """Read all waiting events without blocking.

        Args:
            own_ports: netlink ports whose changes are not news, see ``XfrmSocket.port_id``.

        Returns:
            What happened; everything, when events were lost or the socket broke; nothing while it
            is closed.
        """
        events = NO_EVENTS
        ended: list[XfrmState] = []
        for message in self._receive():
            if message is None:
                events = ALL_EVENTS
                continue
            if message.port not in own_ports:
                events = messages.add_event(events, message.kind)
            with suppress(ValueError):
                sa = messages.parse_ended(message.kind, message.payload)
                ended += [] if sa is None else [sa]
        return replace(events, ended=tuple(ended)) if ended else events


def _parsed(table: str, parse: Callable[[bytes], T], payloads: Iterable[bytes]) -> tuple[T, ...]:
    """Parse a whole table; one that cannot be parsed is unknown, not empty."""
    try:
        return tuple(map(parse, payloads))
    except ValueError as error:
        raise XfrmError(f"cannot read {table}: {error}", errno=errno.EBADMSG) from error


def _words(error: XfrmError) -> str:
    name = errno.errorcode.get(error.errno, str(error.errno))
    return f"{name} ({os.strerror(error.errno)})"


def _error(answer: Message) -> int:
    """The code of an NLMSG_ERROR or NLMSG_DONE: a positive errno, or 0."""
    size = _ERROR_CODE.size
    return -_ERROR_CODE.unpack_from(answer.payload)[0] if len(answer.payload) >= size else 0
