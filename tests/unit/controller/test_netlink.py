# SPDX-License-Identifier: Apache-2.0
"""Netlink datagrams: split into messages, and what is lost is said to be lost."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.guard.nft_events import NftEvents
from controller.xfrm import messages
from controller.xfrm.messages import Kind
from controller.xfrm.netlink import HEADER, Message, split
from controller.xfrm.socket import XfrmEventSocket
from controller.xfrm.values import ALL_EVENTS, NO_EVENTS, XfrmEvents

NEW_GENERATION, NEW_RULE = 10 << 8 | 15, 10 << 8 | 6
OURS, OTHERS = 7, 8
ATTRIBUTE = struct.Struct("=HH")


def packed(kind: int, payload: bytes = b"", *, port: int = 0) -> bytes:
    """A message as the kernel writes it, padded."""
    data = HEADER.pack(HEADER.size + len(payload), kind, 0, 0, port) + payload
    return data + bytes(-len(data) % 4)


def attribute(kind: int, payload: bytes) -> bytes:
    data = ATTRIBUTE.pack(ATTRIBUTE.size + len(payload), kind) + payload
    return data + bytes(-len(data) % 4)


def rule(family: int = 1, table: bytes = b"ovn_ipsec\0") -> bytes:
    """A rule came into a table."""
    return packed(NEW_RULE, bytes((family, 0, 0, 0)) + attribute(1, table))


def commit(task: int) -> bytes:
    """A task's transaction ends."""
    return packed(NEW_GENERATION, bytes(4) + attribute(2, task.to_bytes(4, "big")))


class Kernel:
    """Stands in for a socket: hands out datagrams and errors, then has nothing."""

    def __init__(self, *answers: bytes | int) -> None:
        self.answers = list(answers)
        self.closed = False

    def recv(self, _size: int) -> bytes:
        """Hand out the next one."""
        answer = self.answers.pop(0) if self.answers else errno.EAGAIN
        if isinstance(answer, int):
            raise OSError(answer, "")
        return answer

    def close(self) -> None:
        """Write it down."""
        self.closed = True


def xfrm(*answers: bytes | int) -> tuple[XfrmEventSocket, Kernel]:
    events, kernel = XfrmEventSocket(), Kernel(*answers)
    events._socket = kernel
    return events, kernel


def nft(*answers: bytes | int) -> NftEvents:
    events = NftEvents(own_tasks=frozenset({OURS}))
    events._socket = Kernel(*answers)
    return events


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=9))))
def test_a_datagram_is_split_into_its_messages(sent: list[tuple[int, bytes]]):
    """Each with its payload, without the padding between them."""
    found = split(b"".join(packed(*message) for message in sent))
    assert sent == [(message.kind, message.payload) for message in found]


@pytest.mark.parametrize("cut", [1, 4])
def test_a_message_that_is_cut_off_is_an_error(cut: int):
    """And so is one that says it is shorter than its header."""
    with pytest.raises(OSError, match="truncated"):
        list(split(packed(1, bytes(8))[:-cut]))
    with pytest.raises(OSError, match="truncated"):
        list(split(HEADER.pack(8, 1, 0, 0, 0)))


def test_who_made_a_change_is_in_its_message():
    """Ours are told from others' by it."""
    assert [Message(kind=1, flags=0, seq=0, port=5, payload=b"")] == list(split(packed(1, port=5)))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((), NO_EVENTS),
        ((packed(Kind.DELETE_POLICY),), XfrmEvents(policy_deleted=True)),
        ((packed(Kind.DELETE_POLICY, port=OURS),), NO_EVENTS),
        ((errno.ENOBUFS, packed(Kind.DELETE_POLICY)), ALL_EVENTS),
        ((packed(Kind.DELETE_POLICY, bytes(8))[:-1],), ALL_EVENTS),
    ],
)
def test_what_happened_to_the_spd(answers: tuple[bytes | int, ...], expected: XfrmEvents):
    """Others' changes; everything where events were lost, and the subscription stays."""
    events, kernel = xfrm(*answers)
    assert (expected, False) == (events.drain(own_ports=frozenset({OURS})), kernel.closed)


def test_what_sas_came_to_is_told_whoever_deleted_them():
    """Even what we deleted ourselves; what cannot be read of it is no SA."""
    sa = bytes(messages.STATE.size)
    deleted = bytes(messages.STATE_ID.size) + attribute(6, sa)
    broken = bytes(messages.STATE_ID.size) + attribute(6, sa[:-1])
    answers = (packed(Kind.DELETE_SA, deleted, port=OURS), packed(Kind.DELETE_SA, broken))
    events, _ = xfrm(*answers)
    found = events.drain(own_ports=frozenset({OURS}))
    assert (messages.parse_state(sa),) == found.ended
    assert XfrmEvents(sa_deleted=True) == found


def test_a_socket_that_broke_is_closed_and_everything_may_have_happened():
    """It is not polled any more."""
    events, kernel = xfrm(packed(Kind.DELETE_POLICY), errno.EIO)
    assert (ALL_EVENTS, True, -1) == (events.drain(), kernel.closed, events.fileno())
    assert NO_EVENTS == events.drain()


def test_a_subscription_that_could_not_be_had_tells_of_nothing():
    """The kernel's tables are looked at by time alone, and not all the time."""
    assert (NO_EVENTS, False) == (XfrmEventSocket().drain(), NftEvents().drain())


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((rule(), commit(OTHERS)), True),
        ((rule(), commit(OURS)), False),
        ((commit(OTHERS),), False),
        ((rule(family=2), commit(OTHERS)), False),
        ((rule(table=b"other\0"), commit(OTHERS)), False),
        ((rule() + commit(OURS), commit(OTHERS)), False),
        ((rule() + commit(OURS), rule(), commit(OTHERS)), True),
        ((rule(),), False),
        ((rule(), errno.ENOBUFS), True),
        ((rule(), packed(NEW_GENERATION)), True),
        ((packed(NEW_RULE), commit(OTHERS)), False),
    ],
)
def test_whose_transactions_are_news(answers: tuple[bytes | int, ...], expected: bool):
    """Those of others that touch our table, once they have ended; and whatever was lost."""
    assert expected == nft(*answers).drain()
