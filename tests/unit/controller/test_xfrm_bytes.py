# SPDX-License-Identifier: Apache-2.0
"""XFRM messages against bytes on record: a kernel's own dump, and what has always been sent.

The policies that are read were dumped by Linux 6.18 (little endian); what is written was recorded
when the structures were packed by hand. Neither may change with the library that does it.
"""

from __future__ import annotations

import sys
from ipaddress import ip_address, ip_network

import pytest

from controller.xfrm import messages
from controller.xfrm.messages import Kind, Request
from controller.xfrm.values import (
    Action,
    Mode,
    PolicyDirection,
    Selector,
    Template,
    XfrmPolicy,
    XfrmState,
)

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="recorded on little endian")

READ_POLICIES = (
    (
        "000000000000000000000000000000000a01000000000000000000000000000000000000000000000200"
        "0010000000000000000000000000ffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "ffffffff0000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000001dd1096b00000000000000000000000000000000120000000200000000000000"
        "0a00100001000000000000000c00150001000000ff00000008001f0003000000",
        XfrmPolicy(
            direction=PolicyDirection.FORWARD,
            selector=Selector(src=ip_network("10.1.0.0/16"), dst=ip_network("0.0.0.0/0"), proto=0),
            priority=0,
            action=Action.ALLOW,
            templates=(),
        ),
    ),
    (
        "00000000000000000000000000000000fd00000900000000000000000000000112b5ffff000000000a00"
        "0080110000000000000000000000ffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "ffffffff0000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000001dd1096b000000000000000000000000c1ab3577080000000001000000000000"
        "0a0010000000000000000000",
        XfrmPolicy(
            direction=PolicyDirection.IN,
            selector=Selector(
                src=ip_network("fd00:9::1/128"),
                dst=ip_network("::/0"),
                proto=17,
                dport=4789,
                dport_mask=65535,
            ),
            priority=2000006081,
            action=Action.BLOCK,
            templates=(),
        ),
    ),
    (
        "0a0900000000000000000000000000000a09000100000000000000000000000017c1ffff0007ffff0200"
        "1820110000000000000000000000ffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "ffffffff0000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000001dd1096b0000000000000000000000003f990500010000000100000000000000"
        "840005000a0900020000000000000000000000000000123432000000020000000a090001000000000000"
        "0000000000000700000000000000ffffffffffffffffffffffff0a090002000000000000000000000000"
        "0000000033000000020000000a0900010000000000000000000000000900000001000000ffffffffffff"
        "ffffffffffff0a0010000000000000000000",
        XfrmPolicy(
            direction=PolicyDirection.OUT,
            selector=Selector(
                src=ip_network("10.9.0.1/32"),
                dst=ip_network("10.9.0.0/24"),
                proto=17,
                sport=7,
                sport_mask=65535,
                dport=6081,
                dport_mask=65535,
            ),
            priority=366911,
            action=Action.ALLOW,
            templates=(
                Template(
                    src=ip_address("10.9.0.1"),
                    dst=ip_address("10.9.0.2"),
                    proto=50,
                    spi=4660,
                    reqid=7,
                    mode=Mode.TRANSPORT,
                ),
                Template(
                    src=ip_address("10.9.0.1"),
                    dst=ip_address("10.9.0.2"),
                    proto=51,
                    spi=0,
                    reqid=9,
                    mode=Mode.TUNNEL,
                ),
            ),
        ),
    ),
)

READ_STATES = (
    (
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00000000000000000000000000000a09000200000000000000000000000000001234320000000a090001"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000050000000700"
        "000002000020800000000000000070001200726663343130362867636d28616573292900000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000002001"
        "000080000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "200017000000000000000000000000000000000000000000000000000000000008001a0000000000",
        XfrmState(
            src=ip_address("10.9.0.1"),
            dst=ip_address("10.9.0.2"),
            spi=4660,
            proto=50,
            reqid=7,
            mode=Mode.TRANSPORT,
        ),
    ),
    (
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000fd000009000000000000000000000002c000000132000000fd000009"
        "000000000000000000000001000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000b00"
        "00000a000100000000000000000070001200726663343130362867636d28616573292900000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000002001"
        "000080000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "200017000000000000000000000000000000000000000000000000000000000008001a0000000000",
        XfrmState(
            src=ip_address("fd00:9::1"),
            dst=ip_address("fd00:9::2"),
            spi=3221225473,
            proto=50,
            reqid=11,
            mode=Mode.TUNNEL,
        ),
    ),
    (
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00000000000000000000000000000a090002000000000000000000000000000000016c0000000a090001"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00000200c8000000000000000000",
        XfrmState(
            src=ip_address("10.9.0.1"),
            dst=ip_address("10.9.0.2"),
            spi=1,
            proto=108,
            reqid=0,
            mode=Mode(200),
        ),
    ),
)

SELECTOR = Selector(
    src=ip_network("10.9.0.1/32"),
    dst=ip_network("10.9.0.0/24"),
    proto=17,
    sport=7,
    sport_mask=65535,
    dport=6081,
    dport_mask=65535,
    user=1870032489,
)
POLICIES = (
    XfrmPolicy(
        direction=PolicyDirection.OUT,
        selector=SELECTOR,
        priority=6081,
        action=Action.ALLOW,
        templates=(),
    ),
    XfrmPolicy(
        direction=PolicyDirection.IN,
        selector=Selector(
            src=ip_network("::/0"),
            dst=ip_network("fd00:9::1/128"),
            proto=17,
            dport=4789,
            dport_mask=65535,
        ),
        priority=2000006081,
        action=Action.BLOCK,
        templates=(),
    ),
    XfrmPolicy(
        direction=PolicyDirection.FORWARD,
        selector=SELECTOR,
        priority=1,
        action=Action.ALLOW,
        templates=(
            Template(
                src=ip_address("10.9.0.1"),
                dst=ip_address("10.9.0.2"),
                proto=50,
                spi=4660,
                reqid=7,
                mode=Mode.TRANSPORT,
            ),
            Template(
                src=ip_address("fd00:9::1"),
                dst=ip_address("fd00:9::2"),
                proto=51,
                spi=0,
                reqid=9,
                mode=Mode.BEET,
            ),
        ),
    ),
)
STATES = (
    XfrmState(
        src=ip_address("10.9.0.1"),
        dst=ip_address("10.9.0.2"),
        spi=4660,
        proto=50,
        reqid=7,
        mode=Mode.TRANSPORT,
    ),
    XfrmState(
        src=ip_address("fd00:9::1"),
        dst=ip_address("fd00:9::2"),
        spi=3221225473,
        proto=50,
        reqid=7,
        mode=Mode.TUNNEL,
    ),
)
KEY = bytes(range(36))

WRITTEN = (
    (
        messages.update_policy(POLICIES[0]),
        Kind.UPDATE_POLICY,
        "0a0900000000000000000000000000000a09000100000000000000000000000017c1ffff0007ffff0200"
        "18201100000000000000696e766fffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "ffffffff0000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000c1170000000000000100000000000000",
    ),
    (
        messages.update_policy(POLICIES[1]),
        Kind.UPDATE_POLICY,
        "fd0000090000000000000000000000010000000000000000000000000000000012b5ffff000000000a00"
        "8000110000000000000000000000ffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "ffffffff0000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000c1ab3577000000000001000000000000",
    ),
    (
        messages.update_policy(POLICIES[2]),
        Kind.UPDATE_POLICY,
        "0a0900000000000000000000000000000a09000100000000000000000000000017c1ffff0007ffff0200"
        "18201100000000000000696e766fffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "ffffffff0000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000000001000000000000000200000000000000"
        "840005000a0900020000000000000000000000000000123432000000020000000a090001000000000000"
        "0000000000000700000000000000fffffffffffffffffffffffffd000009000000000000000000000002"
        "00000000330000000a000000fd0000090000000000000000000000010900000004000000ffffffffffff"
        "ffffffffffff",
    ),
    (
        messages.delete_policy(POLICIES[0]),
        Kind.DELETE_POLICY,
        "0a0900000000000000000000000000000a09000100000000000000000000000017c1ffff0007ffff0200"
        "18201100000000000000696e766f0000000001000000",
    ),
    (
        messages.delete_policy(POLICIES[1]),
        Kind.DELETE_POLICY,
        "fd0000090000000000000000000000010000000000000000000000000000000012b5ffff000000000a00"
        "80001100000000000000000000000000000000000000",
    ),
    (
        messages.delete_state(STATES[0]),
        Kind.DELETE_SA,
        "0a0900020000000000000000000000000000123402003200",
    ),
    (
        messages.delete_state(STATES[1]),
        Kind.DELETE_SA,
        "fd000009000000000000000000000002c00000010a003200",
    ),
    (
        messages.probe_esp(4, KEY)[0],
        Kind.NEW_SA,
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000cb0071020000000000000000000000000000008032000000cb007101"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000002000000000000000000000070001200726663343130362867636d28616573292900000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000002001"
        "000080000000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223",
    ),
    (
        messages.probe_esp(4, KEY)[1],
        Kind.DELETE_SA,
        "cb0071020000000000000000000000000000008002003200",
    ),
    (
        messages.probe_esp(6, KEY)[0],
        Kind.NEW_SA,
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000020010db8000000000000000000000002000000803200000020010db8"
        "000000000000000000000001000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00000a000000000000000000000070001200726663343130362867636d28616573292900000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000002001"
        "000080000000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223",
    ),
    (
        messages.probe_esp(6, KEY)[1],
        Kind.DELETE_SA,
        "20010db8000000000000000000000002000000800a003200",
    ),
    (
        messages.dump_policies(),
        Kind.GET_POLICY,
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00000000000000000000000000000000000000000000",
    ),
    (
        messages.dump_states(),
        Kind.GET_SA,
        "000000000000000000000000000000000000000000000000",
    ),
    (
        messages.probe(),
        Kind.GET_SPD_INFO,
        "00000000",
    ),
)


@pytest.mark.parametrize(("recorded", "expected"), READ_POLICIES)
def test_policies_on_record_are_read_as_ever(recorded: str, expected: XfrmPolicy) -> None:
    """Attributes that nobody asks for stand between, before and behind."""
    assert expected == messages.parse_policy(bytes.fromhex(recorded))


@pytest.mark.parametrize(("recorded", "expected"), READ_STATES)
def test_states_on_record_are_read_as_ever(recorded: str, expected: XfrmState) -> None:
    """With algorithms and keys behind them; a mode without a name is kept."""
    assert expected == messages.parse_state(bytes.fromhex(recorded))


@pytest.mark.parametrize(("request_", "kind", "recorded"), WRITTEN)
def test_requests_are_written_as_ever(request_: Request, kind: Kind, recorded: str) -> None:
    """Bit by bit: the kernel looks up policies and SAs by them."""
    assert (kind, recorded) == (request_.kind, request_.payload.hex())
