# SPDX-License-Identifier: Apache-2.0
"""The XFRM socket beside a kernel in memory: whether it can do ESP, and what others have made."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable

import pytest

from controller.xfrm import messages
from controller.xfrm.messages import Kind
from controller.xfrm.netlink import HEADER, split
from controller.xfrm.socket import XfrmSocket
from controller.xfrm.values import Mode
from ovn_ipsec.errors import XfrmError
from ovn_ipsec.model.observation import Known, Unknown

ERROR, DONE, ACK = 2, 3, 0x4
ABLE = frozenset({4, 6})


class Kernel:
    """Keeps SAs by destination and SPI, and refuses what it is told to refuse."""

    def __init__(self, *, refuses: dict[int, int] | None = None) -> None:
        self.refuses = refuses or {}
        """Address family to what a new SA is answered."""
        self.sas: set[bytes] = set()
        self.made: list[bytes] = []
        self.tables: dict[int, list[bytes]] = {}
        self._answers: list[bytes] = []

    def send(self, data: bytes) -> None:
        """Work through all messages, as the kernel does before the call returns."""
        for message in split(data):
            code = self._do(message.kind, message.payload)
            if message.kind in self.tables:
                wanted = {Kind.GET_SA: Kind.NEW_SA, Kind.GET_POLICY: Kind.NEW_POLICY}
                kind = wanted[Kind(message.kind)]
                for payload in self.tables[message.kind]:
                    self._answer(kind, message.seq, payload)
                self._answer(DONE, message.seq, bytes(4))
            elif code or message.flags & ACK:
                self._answer(ERROR, message.seq, struct.pack("=i", -code))

    def _do(self, kind: int, payload: bytes) -> int:
        if kind == Kind.NEW_SA:
            dst, spi, _, _, _, _, _, _, _, family, *_ = messages.STATE.unpack_from(payload)
            if family in self.refuses:
                return self.refuses[family]
            self.made.append(payload)
            if dst + spi in self.sas:
                return errno.EEXIST
            self.sas.add(dst + spi)
        elif kind == Kind.DELETE_SA:
            dst, spi, _, _ = messages.STATE_ID.unpack_from(payload)
            if dst + spi not in self.sas:
                return errno.ESRCH
            self.sas.remove(dst + spi)
        return 0

    def _answer(self, kind: int, seq: int, payload: bytes) -> None:
        self._answers.append(HEADER.pack(HEADER.size + len(payload), kind, 0, seq, 0) + payload)

    def recv(self, _size: int) -> bytes:
        """Hand out the next answer."""
        return self._answers.pop(0)

    def close(self) -> None:
        """Nothing to do."""


def beside(kernel: Kernel) -> XfrmSocket:
    opened = XfrmSocket()
    opened._socket = kernel
    return opened


def test_a_kernel_that_can_do_esp_keeps_nothing_of_the_trial():
    """For both versions of IP, each time with another key."""
    kernel = Kernel()
    assert Known(ABLE) == beside(kernel).esp_support()
    assert Known(ABLE) == beside(kernel).esp_support()
    assert set() == kernel.sas
    assert 4 == len({made[-36:] for made in kernel.made})


def test_the_sa_of_the_trial_is_good_for_nothing():
    """Documentation addresses, a reserved SPI, and no byte may pass."""
    made, deleted = messages.probe_esp(6, bytes(36))
    state = messages.parse_state(made.payload)
    assert ("2001:db8::1", "2001:db8::2") == (str(state.src), str(state.dst))
    assert (0x80, 50, 0, Mode.TRANSPORT) == (state.spi, state.proto, state.reqid, state.mode)
    limits = slice(messages.SELECTOR.size + 24 + 16, messages.SELECTOR.size + 24 + 16 + 64)
    assert bytes(64) == made.payload[limits]
    assert messages.delete_state(state) == deleted


@pytest.mark.parametrize(
    "code",
    [errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOENT],
)
def test_a_kernel_without_esp_says_so_in_several_ways(code: int):
    """One version of IP may be able without the other."""
    found = beside(Kernel(refuses={messages.AF_INET6: code})).esp_support()
    assert Known(frozenset({4})) == found


@pytest.mark.parametrize(
    ("refused", "asked", "expected"),
    [
        ((), (4, 6), True),
        ((messages.AF_INET6,), (4,), True),
        ((messages.AF_INET6,), (4, 6), False),
        ((messages.AF_INET, messages.AF_INET6), (4,), False),
        ((messages.AF_INET, messages.AF_INET6), (), True),
    ],
)
def test_only_the_versions_of_ip_that_are_needed_count(
    refused: Iterable[int], asked: tuple[int, ...], expected: bool
):
    """A host without IPv6 is able."""
    kernel = Kernel(refuses=dict.fromkeys(refused, errno.EPROTONOSUPPORT))
    assert Known(expected) == beside(kernel).esp_available(asked)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOMEM, errno.EINVAL])
def test_a_refusal_that_says_nothing_of_esp_is_unknown(code: int):
    """Without a capability nobody can tell."""
    kernel = Kernel(refuses={messages.AF_INET: code})
    reason = f"cannot try ESP: {errno.errorcode[code]}"
    for found in (beside(kernel).esp_support(), beside(kernel).esp_available()):
        assert isinstance(found, Unknown)
        assert found.reason.startswith(reason)


def test_an_sa_that_an_earlier_trial_left_is_no_obstacle():
    """It could be made, and goes now."""
    kernel = Kernel()
    (made, _) = messages.probe_esp(4, bytes(36))
    kernel.send(HEADER.pack(HEADER.size + len(made.payload), made.kind, 0, 0, 0) + made.payload)
    assert Known(ABLE) == beside(kernel).esp_support()
    assert set() == kernel.sas


def test_numbers_that_are_newer_than_this_program_do_not_spoil_a_dump():
    """Somebody else's SA of a mode without a name is read with the rest."""
    kernel = Kernel()
    address = bytes((10, 9, 0, 1)).ljust(16, b"\0")

    def state(mode: int) -> bytes:
        return messages.STATE.pack(address, b"\0\0\1\2", 50, address, 0, 0, 0, 0, 7, 2, mode, 32, 0)

    kernel.tables = {Kind.GET_SA: [state(200), state(0)]}
    strange, ours = beside(kernel).dump_states()
    assert (200, "UNKNOWN_200") == (strange.mode, strange.mode.name)
    assert strange.mode not in tuple(Mode)
    assert ours.mode is Mode.TRANSPORT


def test_a_table_that_is_not_understood_is_unknown_and_not_empty():
    """No exception of another kind leaves the socket."""
    kernel = Kernel()
    kernel.tables = {Kind.GET_SA: [b"short"], Kind.GET_POLICY: [b"short"]}
    for dump in (beside(kernel).dump_states, beside(kernel).dump_policies):
        with pytest.raises(XfrmError, match="cannot read the S") as caught:
            dump()
        assert errno.EBADMSG == caught.value.errno
