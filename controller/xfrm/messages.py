# SPDX-License-Identifier: Apache-2.0
"""XFRM netlink messages: kernel structs to values and back.

Pure. Input: values or the bytes of one message. Output: the other. Every struct and number is
from include/uapi/linux/xfrm.h; the layouts are those of a 64-bit kernel ABI, native byte order,
except addresses, ports and SPIs, which are in network order.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from ovn_ipsec.model.chassis import IpAddress

from .values import (
    Action,
    IpNetwork,
    Mode,
    PolicyDirection,
    Selector,
    Template,
    XfrmEvents,
    XfrmPolicy,
    XfrmState,
)

AF_INET = 2
AF_INET6 = 10
_INFINITE = 0xFFFF_FFFF_FFFF_FFFF
"""XFRM_INF: no limit."""
_TEMPLATES = 5
"""XFRMA_TMPL of enum xfrm_attr_type_t."""
_SA = 6
"""XFRMA_SA."""
_AEAD = 18
"""XFRMA_ALG_AEAD."""
_ESP = 50
AES_GCM = b"rfc4106(gcm(aes))"
"""What the default profile offers first, in the kernel's words."""
_KEY_BYTES, _ICV_BITS = 36, 128
"""AES-256 and its salt of four bytes."""
PROBE_SPI = 0x80
"""Reserved (RFC 4303 section 2.1), so that no IKE daemon ever has it."""
PROBE_ENDS: dict[int, tuple[IpAddress, IpAddress]] = {
    4: (IPv4Address("203.0.113.1"), IPv4Address("203.0.113.2")),
    6: (IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")),
}
"""Addresses for documentation (RFC 5737, RFC 3849)."""

SELECTOR = struct.Struct("=16s16s8sHBBB3xiI")
"""struct xfrm_selector: daddr saddr (dport dport_mask sport sport_mask) family prefixlen_d
prefixlen_s proto ifindex user."""
PORTS = struct.Struct("!HHHH")
"""dport, dport_mask, sport, sport_mask of struct xfrm_selector."""
POLICY = struct.Struct("=4Q4Q4QII4B4x")
"""struct xfrm_userpolicy_info after its selector: lft curlft priority index dir action flags
share."""
POLICY_ID = struct.Struct("=IB3x")
"""struct xfrm_userpolicy_id after its selector: index dir."""
TEMPLATE = struct.Struct("=16s4sB3xHxx16sIBBBxIII")
"""struct xfrm_user_tmpl: id(daddr spi proto) family saddr reqid mode share optional aalgos
ealgos calgos."""
STATE = struct.Struct("=56x16s4sB3x16s64xQQQ8x12xIIHBBB7x")
"""struct xfrm_usersa_info: sel id(daddr spi proto) saddr lft curlft(bytes packets add_time
use_time) stats seq reqid family mode replay_window flags."""
ACQUIRE_ID = struct.Struct("=16s4sB3x16s")
"""struct xfrm_user_acquire up to its selector and policy: id(daddr spi proto) saddr."""
ACQUIRE_END = struct.Struct("=4I")
"""struct xfrm_user_acquire behind its policy: aalgos ealgos calgos seq."""
_ANY = 0xFFFF_FFFF
"""Any algorithm."""
ALGORITHM = struct.Struct("=64sII")
"""struct xfrm_algo_aead before its key: alg_name alg_key_len alg_icv_len, both in bits."""
STATE_ID = struct.Struct("=16s4sHBx")
"""struct xfrm_usersa_id: daddr spi family proto."""
ATTRIBUTE = struct.Struct("=HH")
"""struct nlattr: length, type."""


class Kind(IntEnum):
    """XFRM_MSG_*, the ones used here."""

    NEW_SA = 0x10
    DELETE_SA = 0x11
    GET_SA = 0x12
    NEW_POLICY = 0x13
    DELETE_POLICY = 0x14
    GET_POLICY = 0x15
    ACQUIRE = 0x17
    EXPIRE = 0x18
    UPDATE_POLICY = 0x19
    UPDATE_SA = 0x1A
    POLICY_EXPIRE = 0x1B
    FLUSH_SA = 0x1C
    FLUSH_POLICY = 0x1D
    GET_SPD_INFO = 0x25


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One message to the kernel, without its netlink header."""

    kind: Kind
    payload: bytes


_EVENT_FIELD = {
    Kind.NEW_POLICY: "policy_added",
    Kind.UPDATE_POLICY: "policy_added",
    Kind.DELETE_POLICY: "policy_deleted",
    Kind.POLICY_EXPIRE: "policy_deleted",
    Kind.FLUSH_POLICY: "policies_flushed",
    Kind.NEW_SA: "sa_added",
    Kind.UPDATE_SA: "sa_added",
    Kind.DELETE_SA: "sa_deleted",
    Kind.FLUSH_SA: "sa_flushed",
    Kind.EXPIRE: "sa_expired",
}


def update_policy(policy: XfrmPolicy) -> Request:
    """Add the policy, or replace the one with the same selector.

    Args:
        policy: The policy that is wanted.

    Returns:
        XFRM_MSG_UPDPOLICY.
    """
    return Request(kind=Kind.UPDATE_POLICY, payload=format_policy(policy))


def delete_policy(policy: XfrmPolicy) -> Request:
    """Delete the policy with this direction and selector.

    Args:
        policy: The kernel ignores its priority, action and templates.

    Returns:
        XFRM_MSG_DELPOLICY.
    """
    payload = format_selector(policy.selector) + POLICY_ID.pack(0, policy.direction)
    return Request(kind=Kind.DELETE_POLICY, payload=payload)


def acquire(policy: XfrmPolicy, pair: tuple[IpAddress, IpAddress]) -> Request:
    """Ask the IKE daemon for an SA of a policy, as a packet would that the policy is for.

    The kernel passes it on to whoever listens, and makes and keeps nothing.

    Args:
        policy: One for what leaves, with a template.
        pair: The local address and the remote one.

    Returns:
        XFRM_MSG_ACQUIRE; that nobody listens is no error.

    Source:
        Linux net/xfrm/xfrm_user.c, xfrm_add_acquire.
    """
    local, remote = pair
    bare, attribute = _formatted(policy)
    head = ACQUIRE_ID.pack(_address_bytes(remote), bytes(4), _ESP, _address_bytes(local))
    body = head + format_selector(policy.selector) + bare + ACQUIRE_END.pack(*(_ANY,) * 3, 0)
    return Request(kind=Kind.ACQUIRE, payload=body + attribute)


def delete_state(state: XfrmState) -> Request:
    """Delete one SA.

    Args:
        state: The kernel finds it by destination, SPI and protocol.

    Returns:
        XFRM_MSG_DELSA.
    """
    family = AF_INET if state.dst.version == 4 else AF_INET6
    payload = STATE_ID.pack(_address_bytes(state.dst), state.spi.to_bytes(4), family, state.proto)
    return Request(kind=Kind.DELETE_SA, payload=payload)


def probe_esp(version: int, key: bytes) -> tuple[Request, Request]:
    """Make an SA that no packet can use, and delete it.

    Its lifetime is 0 bytes, and its addresses are for documentation only.

    Args:
        version: Of IP.
        key: 36 random bytes.

    Returns:
        XFRM_MSG_NEWSA, which fails where the kernel cannot do ESP, and XFRM_MSG_DELSA.
    """
    src, dst = PROBE_ENDS[version]
    spi = PROBE_SPI.to_bytes(4)
    family = AF_INET if version == 4 else AF_INET6
    head = STATE.pack(
        *(_address_bytes(dst), spi, _ESP, _address_bytes(src)),
        *(0, 0, 0, 0, 0, family, Mode.TRANSPORT, 0, 0),
    )
    algorithm = ALGORITHM.pack(AES_GCM, _KEY_BYTES * 8, _ICV_BITS) + key
    attribute = ATTRIBUTE.pack(ATTRIBUTE.size + len(algorithm), _AEAD) + algorithm
    made = Request(kind=Kind.NEW_SA, payload=head + attribute)
    identity = STATE_ID.pack(_address_bytes(dst), spi, family, _ESP)
    return made, Request(kind=Kind.DELETE_SA, payload=identity)


def dump_policies() -> Request:
    """Ask for the whole SPD.

    Returns:
        XFRM_MSG_GETPOLICY; it is sent as a dump.
    """
    return Request(kind=Kind.GET_POLICY, payload=bytes(SELECTOR.size + POLICY_ID.size))


def dump_states() -> Request:
    """Ask for the whole SAD.

    Returns:
        XFRM_MSG_GETSA; it is sent as a dump.
    """
    return Request(kind=Kind.GET_SA, payload=bytes(STATE_ID.size))


def probe() -> Request:
    """Ask for the sizes of the SPD, which is the cheapest request.

    Returns:
        XFRM_MSG_GETSPDINFO.
    """
    return Request(kind=Kind.GET_SPD_INFO, payload=bytes(4))


def format_policy(policy: XfrmPolicy) -> bytes:
    """Write a policy that never expires.

    Args:
        policy: the value.

    Returns:
        struct xfrm_userpolicy_info and its XFRMA_TMPL.
    """
    return b"".join(_formatted(policy))


def _formatted(policy: XfrmPolicy) -> tuple[bytes, bytes]:
    """The struct, and the attribute, which is empty without templates."""
    limits = (_INFINITE,) * 4 + (0,) * 8
    head = format_selector(policy.selector) + POLICY.pack(
        *limits, policy.priority, 0, policy.direction, policy.action, 0, 0
    )
    if not policy.templates:
        return head, b""
    body = b"".join(_format_template(template) for template in policy.templates)
    return head, ATTRIBUTE.pack(ATTRIBUTE.size + len(body), _TEMPLATES) + body


def parse_policy(payload: bytes) -> XfrmPolicy:
    """Read a policy.

    Args:
        payload: a message after its netlink header.

    Returns:
        The value.

    Raises:
        ValueError: The bytes are no policy.
    """
    selector = parse_selector(payload)
    try:
        fields = POLICY.unpack_from(payload, SELECTOR.size)
        templates = tuple(
            _parse_template(body[offset : offset + TEMPLATE.size])
            for kind, body in _attributes(payload[SELECTOR.size + POLICY.size :])
            if kind == _TEMPLATES
            for offset in range(0, len(body), TEMPLATE.size)
        )
    except struct.error as error:
        raise ValueError(f"no xfrm_userpolicy_info: {error}") from error
    priority, _, direction, action, _, _ = fields[12:]
    return XfrmPolicy(
        direction=PolicyDirection(direction),
        selector=selector,
        priority=priority,
        action=Action(action),
        templates=templates,
    )


def parse_state(payload: bytes) -> XfrmState:
    """Read an SA, without its keys.

    Args:
        payload: a message after its netlink header.

    Returns:
        The value.

    Raises:
        ValueError: the bytes are no SA.
    """
    try:
        dst, spi, proto, src, size, packets, made_at, _, reqid, family, mode, _, _ = (
            STATE.unpack_from(payload)
        )
    except struct.error as error:
        raise ValueError(f"no xfrm_usersa_info: {error}") from error
    return XfrmState(
        src=_address(src, family),
        dst=_address(dst, family),
        spi=int.from_bytes(spi),
        proto=proto,
        reqid=reqid,
        mode=Mode(mode),
        made_at=made_at,
        bytes=size,
        packets=packets,
    )


def parse_ended(kind: int, payload: bytes) -> XfrmState | None:
    """Read from a multicast message what an SA came to that is no more.

    Args:
        kind: the message's type.
        payload: a message after its netlink header.

    Returns:
        The SA with its last counts; None if the message is about something else.

    Raises:
        ValueError: the bytes are no such message.

    Source:
        Linux net/xfrm/xfrm_user.c: xfrm_notify_sa, which puts the SA into XFRMA_SA when one is
        deleted, and build_expire: struct xfrm_user_expire, whose ``hard`` says that it is gone.
    """
    match kind:
        case Kind.DELETE_SA:
            for attribute, body in _attributes(payload[STATE_ID.size :]):
                if attribute == _SA:
                    return parse_state(body)
        case Kind.EXPIRE if payload[STATE.size : STATE.size + 1] not in (b"", b"\0"):
            return parse_state(payload)
    return None


def format_selector(selector: Selector) -> bytes:
    """Write a selector.

    Args:
        selector: the value.

    Returns:
        struct xfrm_selector.
    """
    ports = PORTS.pack(selector.dport, selector.dport_mask, selector.sport, selector.sport_mask)
    return SELECTOR.pack(
        _address_bytes(selector.dst.network_address),
        _address_bytes(selector.src.network_address),
        ports,
        AF_INET if selector.dst.version == 4 else AF_INET6,
        selector.dst.prefixlen,
        selector.src.prefixlen,
        selector.proto,
        0,
        selector.user,
    )


def parse_selector(payload: bytes) -> Selector:
    """Read a selector.

    Args:
        payload: begins with struct xfrm_selector.

    Returns:
        The value.

    Raises:
        ValueError: the bytes are no selector.
    """
    try:
        dst, src, ports, family, dst_len, src_len, proto, _, user = SELECTOR.unpack_from(payload)
    except struct.error as error:
        raise ValueError(f"no xfrm_selector: {error}") from error
    dport, dport_mask, sport, sport_mask = PORTS.unpack(ports)
    return Selector(
        src=_network(src, src_len, family),
        dst=_network(dst, dst_len, family),
        proto=proto,
        sport=sport,
        sport_mask=sport_mask,
        dport=dport,
        dport_mask=dport_mask,
        user=user,
    )


def add_event(events: XfrmEvents, kind: int) -> XfrmEvents:
    """Record one multicast message.

    Args:
        events: What was recorded before.
        kind: The type of the message; unknown ones are ignored.

    Returns:
        The events with the new one.
    """
    try:
        field = _EVENT_FIELD[Kind(kind)]
    except (KeyError, ValueError):
        return events
    if getattr(events, field):
        return events
    happened: dict[str, Any] = {field: True}
    return replace(events, **happened)


def _format_template(template: Template) -> bytes:
    family = AF_INET if template.dst.version == 4 else AF_INET6
    every = 0xFFFF_FFFF
    return TEMPLATE.pack(
        _address_bytes(template.dst),
        template.spi.to_bytes(4),
        template.proto,
        family,
        _address_bytes(template.src),
        template.reqid,
        template.mode,
        0,
        0,
        every,
        every,
        every,
    )


def _parse_template(payload: bytes) -> Template:
    dst, spi, proto, family, src, reqid, mode, *_ = TEMPLATE.unpack(payload)
    return Template(
        src=_address(src, family),
        dst=_address(dst, family),
        proto=proto,
        spi=int.from_bytes(spi),
        reqid=reqid,
        mode=Mode(mode),
    )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < ATTRIBUTE.size:
            raise ValueError("attribute shorter than its header")
        yield kind, data[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _address_bytes(address: IpAddress) -> bytes:
    return address.packed.ljust(16, b"\0")


def _address(data: bytes, family: int) -> IpAddress:
    return IPv6Address(data) if family == AF_INET6 else IPv4Address(data[:4])


def _network(data: bytes, prefix: int, family: int) -> IpNetwork:
    if family == AF_INET6:
        return IPv6Network((data, prefix), strict=False)
    return IPv4Network((data[:4], prefix), strict=False)
